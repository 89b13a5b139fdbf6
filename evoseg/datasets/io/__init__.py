"""Image files in and out: PNG, JPEG, BMP and TIFF, with a reason for every file that is refused."""
