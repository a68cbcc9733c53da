"""Operations closer to the primitives than `fdl.numpy`: no promotion beyond scalars, no implicit broadcasting."""

from fdl import linalg as linalg
from fdl.control.collective import axis_size as axis_size
from fdl.lax.approximate import *
from fdl.lax.argextremes import pargmax as pargmax
from fdl.lax.argextremes import pargmin as pargmin
from fdl.lax.associative import associative_scan as associative_scan
from fdl.lax.bounded import while_loop as while_loop
from fdl.lax.callbacks import io_callback as io_callback
from fdl.lax.callbacks import pure_callback as pure_callback
from fdl.lax.collectives import all_gather as all_gather
from fdl.lax.collectives import axis_index as axis_index
from fdl.lax.collectives import pmax as pmax
from fdl.lax.collectives import pmean as pmean
from fdl.lax.collectives import pmin as pmin
from fdl.lax.collectives import ppermute as ppermute
from fdl.lax.collectives import psum as psum
from fdl.lax.collectives import psum_scatter as psum_scatter
from fdl.lax.control import cond as cond
from fdl.lax.control import fori_loop as fori_loop
from fdl.lax.control import map as map
from fdl.lax.control import scan as scan
from fdl.lax.control import switch as switch
from fdl.lax.convolution import *
from fdl.lax.convolution_shapes import *
from fdl.lax.exchange import all_to_all as all_to_all
from fdl.lax.exchange import pbroadcast as pbroadcast
from fdl.lax.exchange import pshuffle as pshuffle
from fdl.lax.exchange import pswapaxes as pswapaxes
from fdl.lax.fourier import *
from fdl.lax.implicit import custom_linear_solve as custom_linear_solve
from fdl.lax.implicit import custom_root as custom_root
from fdl.lax.indexing import *
from fdl.lax.layout import *
from fdl.lax.operators import *
from fdl.lax.order import *
from fdl.lax.platform import platform_dependent as platform_dependent
from fdl.lax.precision import *
from fdl.lax.precisions import *
from fdl.lax.ragged import *
from fdl.lax.reductions import *
from fdl.lax.slicing import *
from fdl.lax.special import *
from fdl.lax.structure import *
from fdl.lax.types import *
from fdl.lax.windows import *
