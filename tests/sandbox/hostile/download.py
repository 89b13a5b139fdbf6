# Expected: error.
import urllib.request
def operator(plane):
    urllib.request.urlopen("http://127.0.0.1/")
    return plane
