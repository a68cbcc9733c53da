"""The loss of sequences whose alignment is unknown."""

from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.nn.softmax import log_softmax
from fdl.numpy._operands import floating


def ctc_loss_with_forward_probs(
    logits: Any, logit_paddings: Any, labels: Any, label_paddings: Any, *, blank_id: int = 0, log_epsilon: float = -1e5
) -> tuple[Array, Array, Array]:
    """:func:`ctc_loss`, and the log probabilities of all prefixes at all times.

    Args:
        logits: [batch, times, classes].
        logit_paddings: [batch, times], 1 where there is no input, at the end; else 0.
        labels: integers [batch, labels].
        label_paddings: [batch, labels], 1 where there is no label, at the end; else 0.
        blank_id: the class that means no label.
        log_epsilon: the logarithm of a probability that counts as zero.

    Returns:
        The losses [batch]; log probabilities of prefixes that end in a blank, [times, batch, labels + 1]; and of those
        that end in their last label, [times, batch, labels].

    Raises:
        ShapeError: the shapes do not fit.

    >>> none = fnp.zeros((1, 2))
    >>> losses, blank, last = ctc_loss_with_forward_probs(fnp.zeros((1, 2, 3)), none, fnp.array([[1]]), none[:, :1])
    >>> blank.shape, last.shape
    ((2, 1, 2), (2, 1, 1))
    """
    logits, labels = floating(logits), fnp.asarray(labels)
    pads, label_pads = fnp.asarray(logit_paddings).astype(logits.dtype), fnp.asarray(label_paddings)
    if logits.ndim != 3 or pads.shape != logits.shape[:2] or labels.ndim != 2 or label_pads.shape != labels.shape:
        raise ShapeError(
            "ctc_loss needs logits [batch, times, classes], logit_paddings [batch, times], labels and label_paddings "
            f"[batch, labels]; got {logits.type}, {pads.type}, {labels.type}, {label_pads.type}"
        )
    if labels.shape[0] != logits.shape[0]:
        raise ShapeError(f"ctc_loss: logits {logits.type} and labels {labels.type} have different batches")
    (batch, _, classes), count = logits.shape, labels.shape[1]
    logs = log_softmax(logits, axis=-1)
    blank = fnp.swapaxes(logs[:, :, blank_id : blank_id + 1], 0, 1)
    chosen = (labels[:, :, None] == fnp.arange(classes)).astype(logs.dtype)
    emitted = fnp.swapaxes(fnp.einsum("btk,bnk->btn", fnp.where(logs == -fnp.inf, log_epsilon, logs), chosen), 0, 1)
    # A label that repeats the one before needs a blank between them.
    again = fnp.concatenate(
        [(labels[:, :-1] == labels[:, 1:]).astype(logs.dtype), fnp.zeros((batch, min(count, 1)), logs.dtype)], axis=1
    )
    start = fnp.concatenate([fnp.zeros((batch, 1), logs.dtype), fnp.full((batch, count), log_epsilon, logs.dtype)], 1)

    def joined(ends_in_blank: Array, ends_in_label: Array) -> Array:
        return fnp.concatenate([ends_in_blank[:, :1], fnp.logaddexp(ends_in_blank[:, 1:], ends_in_label)], axis=1)

    def step(carry: tuple[Array, Array], x: tuple[Array, Array, Array]) -> tuple[Any, Any]:
        (in_blank, in_label), (emit, silent, pad) = carry, x
        before = joined(in_blank, in_label + log_epsilon * again)
        label = fnp.logaddexp(before[:, :-1] + emit, in_label + emit)
        quiet = joined(before + silent, in_label + silent + log_epsilon * (1.0 - again))
        pad = pad[:, None]
        after = fnp.where(pad > 0, in_blank, quiet), fnp.where(pad > 0, in_label, label)
        return after, after

    first = (start, fnp.full((batch, count), log_epsilon, logs.dtype))
    (in_blank, in_label), (blanks, lasts) = lax.scan(step, first, (emitted, blank, fnp.swapaxes(pads, 0, 1)))
    ended = joined(in_blank, in_label)
    lengths = count - fnp.sum(label_pads, axis=1).astype("int32")
    losses = -fnp.take_along_axis(ended, lengths[:, None], axis=1)[:, 0]
    if blanks.shape[0]:
        blanks = blanks.at[-1].set(ended)
    return losses, blanks, lasts


def ctc_loss(
    logits: Any, logit_paddings: Any, labels: Any, label_paddings: Any, *, blank_id: int = 0, log_epsilon: float = -1e5
) -> Array:
    """Minus the log probability of labels under all their alignments to logits. Source: Graves et al. (2006).

    Args:
        logits: [batch, times, classes].
        logit_paddings: [batch, times], 1 where there is no input, at the end; else 0.
        labels: integers [batch, labels].
        label_paddings: [batch, labels], 1 where there is no label, at the end; else 0.
        blank_id: the class that means no label.
        log_epsilon: the logarithm of a probability that counts as zero.

    Returns:
        [batch]; about ``-log_epsilon`` for labels that do not fit into the times.

    Raises:
        ShapeError: the shapes do not fit.

    >>> none = fnp.zeros((1, 2))
    >>> loss = ctc_loss(fnp.zeros((1, 2, 2)), none, fnp.array([[1]]), none[:, :1])
    >>> round(loss.item(), 4)  # three of four paths: 1 blank, blank 1, 1 1
    0.2877
    """
    return ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings, blank_id=blank_id, log_epsilon=log_epsilon
    )[0]
