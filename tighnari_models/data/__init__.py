"""Files of the data set → the arrays and batches that the models take."""
