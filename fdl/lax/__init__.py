"""Operations closer to the primitives than `fdl.numpy`: no promotion beyond scalars, no implicit broadcasting."""

from fdl import linalg
from fdl.control.collective import axis_size
from fdl.lax.approximate import *
from fdl.lax.argextremes import pargmax, pargmin
from fdl.lax.associative import associative_scan
from fdl.lax.bounded import while_loop
from fdl.lax.callbacks import io_callback, pure_callback
from fdl.lax.collectives import all_gather, axis_index, pmax, pmean, pmin, ppermute, psum, psum_scatter
from fdl.lax.control import cond, fori_loop, map, scan, switch
from fdl.lax.convolution import *
from fdl.lax.convolution_shapes import *
from fdl.lax.exchange import all_to_all, pbroadcast, pshuffle, pswapaxes
from fdl.lax.fourier import *
from fdl.lax.implicit import custom_linear_solve, custom_root
from fdl.lax.indexing import *
from fdl.lax.layout import *
from fdl.lax.operators import *
from fdl.lax.order import *
from fdl.lax.platform import platform_dependent
from fdl.lax.precision import *
from fdl.lax.ragged import *
from fdl.lax.reductions import *
from fdl.lax.slicing import *
from fdl.lax.special import *
from fdl.lax.structure import *
from fdl.lax.types import *
from fdl.lax.windows import *
