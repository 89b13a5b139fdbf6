"""Ways in which folders hold images and truths: one module each, and `recognise`, which tells them apart."""
