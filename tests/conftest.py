import os

# A test of a missing file must never try to fetch it.
os.environ["MLC_OFFLINE"] = "1"
