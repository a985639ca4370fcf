"""Traces of a Python function on AWS Lambda: what runs inside the customer's process.

Pure standard library for Python 3.9 and later. At import it loads nothing beyond C modules that the runtime has loaded
anyway (see tests/instrument/test_start.py); everything it does is wrapped so that the function cannot notice.
"""

VERSION = "0.1.0"
SCOPE = "o2_lambda"
