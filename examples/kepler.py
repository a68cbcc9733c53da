"""A derivative of one's own: Kepler's equation, solved by Newton and differentiated by the implicit function theorem.

Where a planet is at mean anomaly M on an ellipse of eccentricity e follows from the root E of  E - e sin E = M.
A while loop finds it; no derivative passes backwards through the loop, `custom_vjp` states the one at the root instead.

    python examples/kepler.py
"""

import fdl
import fdl.numpy as np
from fdl import lax


@fdl.custom_vjp
def eccentric_anomaly(mean_anomaly, eccentricity):
    """The root E of E - e sin E = M, for scalars."""

    def residual(E):
        return E - eccentricity * np.sin(E) - mean_anomaly

    def unsolved(E):
        return np.abs(residual(E)) > 1e-6

    def newton(E):
        return E - residual(E) / (1 - eccentricity * np.cos(E))

    return lax.while_loop(unsolved, newton, mean_anomaly + eccentricity)


def forward(mean_anomaly, eccentricity):
    E = eccentric_anomaly(mean_anomaly, eccentricity)
    return E, (E, eccentricity)


def backward(residuals, cotangent):
    E, eccentricity = residuals
    slope = cotangent / (1 - eccentricity * np.cos(E))
    return slope, slope * np.sin(E)


eccentric_anomaly.defvjp(forward, backward)


def main():
    """Print E and dE/dM along the orbit of Mercury and of a comet; returns (M, e, E, dE/dM)."""
    mean_anomaly = np.linspace(0.0, 3.0, 7)
    eccentricity = np.array([0.2056, 0.2056, 0.2056, 0.2056, 0.967, 0.967, 0.967])
    solve = fdl.jit(fdl.vmap(fdl.value_and_grad(eccentric_anomaly)))
    E, slope = solve(mean_anomaly, eccentricity)
    for row in zip(mean_anomaly, eccentricity, E, slope, strict=True):
        print("M {:.2f}  e {:.4f}  E {:.4f}  dE/dM {:.4f}".format(*map(float, row)))
    return mean_anomaly, eccentricity, E, slope


if __name__ == "__main__":
    main()
