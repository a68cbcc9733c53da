"""Linear algebra by LAPACK, called from native code by the addresses of its routines."""
