"""Jobs on other machines: what a Dask worker does with them, and the executor that sends them there."""
