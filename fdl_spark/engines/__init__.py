"""Ways to take synchronous steps: reduce-scatter, update, all-gather; the same bits by any of them."""
