"""Names that users of optax know and that :mod:`fdl.optim` does not have: what stands for them here."""

import difflib
from collections.abc import Sequence

#: Losses, which are those of :mod:`fdl.nn`.
LOSSES = (
    "absolute_error binary_dice_loss convex_kl_divergence cosine_distance cosine_similarity ctc_loss "
    "ctc_loss_with_forward_probs dice_loss generalized_kl_divergence hinge_loss huber_loss kl_divergence "
    "kl_divergence_with_log_targets l2_loss log_cosh make_fenchel_young_loss multiclass_generalized_dice_loss "
    "multiclass_hinge_loss multiclass_perceptron_loss multiclass_sparsemax_loss ntxent perceptron_loss "
    "poly_loss_cross_entropy ranking_softmax_loss safe_softmax_cross_entropy sigmoid_binary_cross_entropy "
    "sigmoid_focal_loss smooth_labels softmax_cross_entropy softmax_cross_entropy_with_integer_labels sparsemax_loss "
    "squared_error triplet_margin_loss"
).split()

_INSTEAD = {
    "LookaheadParams": "lookahead(optimizer, sync_period, slow_step_size), whose parameters are those of the model",
    "PartitionState": "MultiTransformState",
    "acprop": "adabelief or adopt",
    "assignment": "scipy.optimize.linear_sum_assignment, by fdl.pure_callback within compiled code",
    "bias_correction": "tree.bias_correction",
    "contrib": "the same names in fdl.optim itself",
    "dadapt_adamw": "prodigy, which improves on it",
    "fisher_diag": "vmap(grad(loss)) and the mean of squares",
    "galore": "adafactor, sm3 or muon, whose states are small too",
    "hessian_diag": "hutchinson_estimator_diag_hessian, or the diagonal of fdl.hessian",
    "init_empty_state": "stateless",
    "lookahead_params": "lookahead",
    "matrix_inverse_pth_root": "fdl.numpy.linalg.eigh",
    "mechanize": "prodigy, dog or dowg",
    "microbatch": "fdl.lax.scan over parts of the batch, or fdl_spark.train(microbatch=)",
    "momo": "polyak_sgd",
    "momo_adam": "polyak_sgd or prodigy",
    "multi_normal": "fdl.random.multivariate_normal and fdl.scipy.stats.multivariate_normal",
    "nnls": "scipy.optimize.nnls, or projection_non_negative after each step",
    "perturbations": "fdl.random.gumbel and fdl.vmap",
    "periodic_update": "incremental_update and fdl.numpy.where",
    "power_iteration": "fdl.nn.spectral_norm, or fdl.numpy.linalg.norm(x, 2)",
    "second_order": "hvp, fdl.hessian, hutchinson_estimator_diag_hessian",
    "simplified_ademamix": "ademamix",
    "stateless_with_tree_map": "stateless and fdl.tree.map",
    "tree_map_params": "tree.map_params",
    "update_infinity_moment": "tree.update_infinity_moment",
    "update_moment": "tree.update_moment",
    "update_moment_per_elem_norm": "tree.update_moment_per_elem_norm",
    "split_real_and_imaginary": "nothing: all transformations take complex leaves",
    "safe_norm": "tree.norm",
    "safe_root_mean_squares": "tree.norm over the root of the size",
    "scale_by_distance_over_gradients": "dog",
    "scale_gradient": "fdl.custom_vjp",
}


def explain(name: str, names: Sequence[str]) -> str:
    """What to say about a name that does not exist."""
    if name in _INSTEAD:
        return f"module 'fdl.optim' has no attribute {name!r}; use {_INSTEAD[name]}"
    near = difflib.get_close_matches(name.lower(), [*names, *LOSSES], 3)
    return f"module 'fdl.optim' has no attribute {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
