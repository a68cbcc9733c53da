"""Detection, crops, binary codes and nearest neighbours of images, as one program of DataFrames."""
