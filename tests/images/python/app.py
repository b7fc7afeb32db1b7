"""The application of the test image: imports a big package and proves that it computes."""
import numpy

print("numpy", numpy.__version__, "sum", int(numpy.arange(1000).sum()))
