"""The product without its pages: imaging, learning, diagnosis, services, evaluation."""
