"""Images: decode, judge, preprocess, synthesise, and hold as data sets. No database, no web page, no TensorFlow."""
