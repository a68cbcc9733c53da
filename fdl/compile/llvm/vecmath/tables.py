"""Numbers behind the functions: the layout of floats and polynomial coefficients.

The coefficients interpolate the functions at Chebyshev nodes; degrees are the lowest whose error stays below 2^-25.5
(float32) and 2^-55 (float64) of the result.

| table | function | variable | interval |
|---|---|---|---|
| exp | (e^r - 1 - r) / r^2 | r | up to log(2) / 2 |
| log | (log((1 + s) / (1 - s)) - 2 s) / s^3 | s^2 | s up to (sqrt(2) - 1) / (sqrt(2) + 1) |
| erf | erf(x) / x - 1 | x^2 | x up to 1 |
| erfc | (1 + 2 x) exp(x^2) erfc(x) | (x - 3.75) / (x + 3.75) | x from 1/2 to 11 or 29 |
| erf_inv | erf_inv(x) / x | x^2 | x up to 1/2 |
| erf_inv_tail | erf_inv(1 - exp(-t^2)) / t | (t - 2.25) / (t + 1.5) | t from sqrt(log(2)) to 4.08 or 6.07 |
| sin, cos | (sin(r) / r - 1) / r^2, (cos(r) - 1 + r^2 / 2) / r^4 | r^2 | r up to pi / 4 |
| lgamma | lgamma(1 + u) / (u (u - 1)) | u | u from 0 to 1 |
| lgamma_tail | x (lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2) | 1 / x^2 | x from 8 |
| digamma | digamma(1 + u) / (u - root) | u | u from 0 to 1 |
| digamma_tail | x^2 (log(x) - 1 / (2 x) - digamma(x)) | 1 / x^2 | x from 8 |
| atan | (atan(t) / t - 1) / t^2 | t^2 | t up to tan(pi / 8) |
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.core.types import DType
from fdl.dtypes import float32, float64
from fdl.ops import single

#: Emits a function of one number, or of two.
MathFunction = Callable[[FunctionBuilder, Value], Value] | Callable[[FunctionBuilder, Value, Value], Value]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format and what depends on it.

    Attributes:
        integer: the unsigned dtype of its bits.
        mantissa: stored bits of the significand.
        bias: of the exponent.
        magic: 1.5 * 2^mantissa: adding it rounds to an integer that then is in the low bits.
        ln2_high, ln2_low: log(2) in two parts, the first short enough for exact products with exponents.
        exp_low, exp_high: beyond these exp is zero or infinite.
        exp, log, erf, erfc, erf_inv, erf_inv_tail, sin, cos, atan, lgamma, lgamma_tail, digamma, digamma_tail:
            coefficients, lowest degree first; see the functions that use them.
    """

    integer: DType
    mantissa: int
    bias: int
    ln2_high: float
    ln2_low: float
    exp_low: float
    exp_high: float
    exp: tuple[float, ...]
    log: tuple[float, ...]
    erf: tuple[float, ...]
    erfc: tuple[float, ...]
    erf_inv: tuple[float, ...]
    erf_inv_tail: tuple[float, ...]
    sin: tuple[float, ...]
    cos: tuple[float, ...]
    atan: tuple[float, ...]
    lgamma: tuple[float, ...]
    lgamma_tail: tuple[float, ...]
    digamma: tuple[float, ...]
    digamma_tail: tuple[float, ...]

    @property
    def magic(self) -> float:
        return float(1.5 * 2.0**self.mantissa)

    @property
    def magic_bits(self) -> int:
        return (self.bias + self.mantissa) << self.mantissa | 1 << (self.mantissa - 1)

    @property
    def smallest_normal(self) -> float:
        return float(2.0 ** (1 - self.bias))


SINGLE = Format(
    integer=np.dtype(np.uint32),
    mantissa=23,
    bias=127,
    ln2_high=single.LN2_HIGH,
    ln2_low=single.LN2_LOW,
    exp_low=-104.5,
    exp_high=89.0,
    exp=(0.5, 0.166666672, 0.0416664667, 0.00833331048, 0.00139336498, 0.000198909911),
    log=single.LOG,
    erf=(0.128379166, -0.37612626, 0.112835944, -0.0268542115, 0.00518908724, -0.00080168643, 7.87587487e-05),
    erfc=(
        1.23751259, -0.140240774, 0.00358650321, 0.0822845623, -0.108825155, 0.0922028869, -0.0585749447,
        0.0288897511, -0.00987358484, 0.000730307947,
    ),
    erf_inv=(0.8862269, 0.23201664, 0.12741977, 0.08880518, 0.048621982, 0.102624424),
    erf_inv_tail=(
        0.858017, 0.3181937, -0.23030168, 0.05571167, 0.018108863, -0.030839285, 0.016712561, -0.0025995818,
        -0.010661204,
    ),
    sin=(-0.166666672, 0.00833333191, -0.000198400827, 2.72493139e-06),
    cos=(0.0416666642, -0.00138883002, 2.45474366e-05),
    atan=(-0.333333313, 0.199995384, -0.142638966, 0.107430995, -0.06449835),
    lgamma=(
        0.5772157, -0.24525087, 0.15541719, -0.1149184, 0.09065067, -0.07072466, 0.049053866, -0.026312074,
        0.009140424, -0.0014874843,
    ),
    lgamma_tail=(0.083333336, -0.0027776984, 0.0007800347),
    digamma=(
        1.2503802, -0.8546921, 0.75241673, -0.7137048, 0.6912532, -0.6545923, 0.5659285, -0.40514824, 0.2134504,
        -0.07088657, 0.010902588,
    ),
    digamma_tail=(0.083333336, -0.008332783, 0.0038735883),
)  # fmt: skip

DOUBLE = Format(
    integer=np.dtype(np.uint64),
    mantissa=52,
    bias=1023,
    ln2_high=0.6931471803691238,
    ln2_low=1.9082149292705877e-10,
    exp_low=-746.0,
    exp_high=710.0,
    exp=(
        0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326136, 0.0013888888888883748,
        0.00019841269874820627, 2.4801587325547743e-05, 2.7557255400206422e-06, 2.75572736431103e-07,
        2.5105217004720745e-08, 2.0914686968086876e-09,
    ),
    log=(
        0.666666666666667, 0.3999999999989889, 0.28571428626253836, 0.22222211089379496, 0.1818289243253687,
        0.15331611722055008, 0.14617807153417325,
    ),
    erf=(
        0.12837916709551256, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777, 0.0052239776071164225,
        -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05, 1.6447424703317362e-06,
        -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
    ),
    erfc=(
        1.2375126308378275, -0.1402405985855467, 0.003585415485464451, 0.08227673849011159, -0.10880393014178065,
        0.09230432116163552, -0.05869339858813158, 0.02836227739745253, -0.00974657958598219, 0.0017556260544297163,
        0.0002937139373344796, -0.00029015521474268577, 5.164754281806127e-05, 2.238824375911899e-05,
        -1.1438607757313332e-05, -9.825244324390913e-07, 1.7392003469144987e-06, -4.478649333151332e-08,
        -2.414138909553993e-07, 1.3348838360681335e-08, 2.493261324407241e-08,
    ),
    erf_inv=(
        0.886226925452758, 0.2320136665346591, 0.12755617530440172, 0.0865521293633146, 0.06495961129634889,
        0.05173148587961133, 0.042832561958381976, 0.036523192323204084, 0.031143520322693873, 0.03160326106666076,
        0.008407381284144151, 0.0735468127041064, -0.07621399496678004, 0.11323173876529488,
    ),
    erf_inv_tail=(
        0.8580170499169126, 0.31819337335620557, -0.23030324828579257, 0.05573184796588975, 0.018179985625892337,
        -0.03113992636827981, 0.015582850194687907, -0.0017329232584321328, -0.004816172899519296,
        0.004248218978344549, -0.0017833517268193329, -0.00041212395701986144, 0.0009651530341657145,
        -0.0007360483913397448, 0.00013969258550830183, 0.000140573766802573, -0.0002297602313277207,
        9.668499663611833e-05, -2.198117917582635e-05, -5.6045166004516085e-05, 5.1177180890869756e-05,
        -2.4624849423864464e-05, -3.6815268915007564e-05,
    ),
    sin=(
        -0.16666666666666666, 0.008333333333333331, -0.00019841269841265017, 2.755731921930192e-06,
        -2.5052106219521895e-08, 1.6058529572267877e-10, -7.586576588171073e-13,
    ),
    cos=(
        0.041666666666666664, -0.0013888888888887382, 2.480158729874307e-05, -2.7557317260008837e-07,
        2.0876143827993133e-09, -1.1382456778061306e-11,
    ),
    atan=(
        -0.3333333333333333, 0.1999999999999548, -0.14285714284657894, 0.11111111014561013, -0.09090904549884611,
        0.07692182535116648, -0.06664502215671447, 0.058580687568615106, -0.05085030492810941, 0.03921955253255129,
        -0.019162068915902573,
    ),
    lgamma=(
        0.5772156649015329, -0.2452513685225759, 0.15543426586329281, -0.11514654252510402, 0.09223900725237584,
        -0.07731814517650464, 0.06673142618826892, -0.05877516383097031, 0.052537419190277455, -0.04744503662529866,
        0.04301415542600463, -0.03867042441832247, 0.03370537137511358, -0.027534187815233195, 0.020215502781759945,
        -0.012742266956440252, 0.006568778005711162, -0.0026202979485050316, 0.0007510944620906334,
        -0.00013673749845170442, 1.1820969445467145e-05,
    ),
    lgamma_tail=(
        0.0833333333333333, -0.002777777777606244, 0.0007936506649488251, -0.0005952025951802608,
        0.0008372834512064689, -0.001652600445544065,
    ),
    digamma=(
        1.2503801375034054, -0.8546933606017683, 0.752468272286776, -0.714540711526564, 0.6983634995191561,
        -0.6909819690009981, 0.6874872336670987, -0.685780525399315, 0.6848171436159209, -0.6836547089985048,
        0.6802492594990093, -0.6694978444516394, 0.6414308462385623, -0.5827856789173862, 0.48507284929579964,
        -0.3556978884537855, 0.22058797774723324, -0.1107670847566569, 0.0427830131726811, -0.01183727152744269,
        0.0020774723105506836, -0.00017312261802727394,
    ),
    digamma_tail=(
        0.08333333333333287, -0.008333333331168558, 0.003968252342841618, -0.004166217650696711,
        0.007519088230738725, -0.01771116041565208,
    ),
)  # fmt: skip

#: (log((1 + s) / (1 - s)) - 2 s - 2/3 s^3) / s^5 in s^2 up to 0.0295, to 2^-69 of the logarithm.
POWER_LOG = (
    0.4, 0.2857142857142937, 0.22222222221652765, 0.18181818336099848, 0.1538459488700718, 0.1333480879881234,
    0.11706126464563398, 0.11724327060846747,
)  # fmt: skip


def format_of(dtype: DType) -> Format:
    """The format that functions of `dtype` compute in."""
    return {float32: SINGLE, float64: DOUBLE}[dtype]


def polynomial(build: FunctionBuilder, x: Value, coefficients: tuple[float, ...]) -> Value:
    """Horner's rule; coefficients from the constant term up."""
    total = build.constant(coefficients[-1], x.dtype, x.lanes)
    for c in reversed(coefficients[:-1]):
        total = build.fma(total, x, c)
    return total
