"""Words that distinguish frames with a unit on from nearby frames with it off."""

from __future__ import annotations

import numpy as np

PRIOR_TOKENS = 0.01  # pseudo-tokens of `contrasting` for each token of the corpus
NEAR = 6.0  # standard deviation of the kernel over time, in frames
REACH = 6.0  # truncation of the kernel, in standard deviations


def contrasting(counts: np.ndarray, on: np.ndarray, near: float = NEAR) -> np.ndarray:
    r"""z-scores of every word's frequency with a unit on against nearby frames with it off.

    .. math::
        s_{jw} = \frac{l(y) - l(m)}{\sqrt{1 / y_w + 1 / m_w}}, \qquad
        l(y) = \log \frac{y_w}{\sum_v y_v - y_w}, \qquad
        y_w = \alpha_w + \sum_t z_{tj} \, (K (1 - z_j))_t \, c_{tw}, \qquad
        m_w = \alpha_w + \sum_t (1 - z_{tj}) \, (K z_j)_t \, c_{tw}

    Frames with the unit on are weighted by the share of nearby frames with it off, and vice versa.
    Slow changes of the whole corpus, such as those of language, therefore cancel. Pseudo-counts are
    proportional to the words' shares, one for every hundred tokens.

    Args:
        counts: tokens c of each word in each frame, (T, D); words that never occur score zero.
        on: the probability z that each unit is on, (T, J).
        near: standard deviation of the kernel K over time, in frames.

    Returns:
        (J, D).

    Reference: Monroe, Colaresi and Quinn, Fightin' words, 2008, equations 16, 20 and 22, applied to
    the weighted counts.
    """
    total = counts.sum(0)
    prior, read = PRIOR_TOKENS * total, total > 0
    y = (on * near_by(1 - on, near)).T @ counts + prior
    m = ((1 - on) * near_by(on, near)).T @ counts + prior
    y, m = y[:, read], m[:, read]
    scores = np.zeros((on.shape[1], len(total)))
    scores[:, read] = (_log_odds(y) - _log_odds(m)) / np.sqrt(1 / y + 1 / m)
    return scores


def near_by(x: np.ndarray, near: float = NEAR) -> np.ndarray:
    """K x: the mean over nearby frames with a normal kernel over time, (T, J).

    Args:
        x: numbers of every frame, (T, J).
        near: standard deviation of the weights, in frames.

    >>> near_by(np.array([[0.0], [3.0], [0.0]]), near=50.0).round(2).tolist()
    [[1.0], [1.0], [1.0]]
    """
    from scipy.ndimage import gaussian_filter1d  # slow to import

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(values, near, axis=0, mode="constant", truncate=REACH)

    return blur(x.astype(np.float64)) / blur(np.ones((len(x), 1)))


def _log_odds(counts: np.ndarray) -> np.ndarray:
    return np.log(counts) - np.log(counts.sum(-1, keepdims=True) - counts)


def coherence(counts: np.ndarray, words: np.ndarray, near: float = NEAR) -> np.ndarray:
    r"""Coherence of topics: the mean correlation over time of pairs of their words, (J,).

    .. math:: C_j = \binom n2^{-1} \sum_{v < w} \mathrm{corr}(r_v, r_w), \qquad
        r_w = (1 - K) \sqrt{c_{tw} / \textstyle\sum_v c_{tv}}

    Slow changes over frames are removed by (1 - K). Square roots of shares have similar variances
    for rare and for frequent words.

    Args:
        counts: tokens c of each word in each frame, (T, D).
        words: indices of each topic's words in the vocabulary, (J, n).
        near: standard deviation of the kernel K over time, in frames.

    Reference: after Röder, Both and Hinneburg, Exploring the space of topic coherence measures,
    2015. Their measures count documents in which words occur, which does not work here: a frame of
    thousands of tokens contains most words.

    >>> counts = np.array([[9, 9, 1], [1, 1, 9], [9, 9, 1], [1, 1, 9]])
    >>> coherence(counts, np.array([[0, 1], [0, 2]]), near=9.0).round(2)
    array([ 1., -1.])
    """
    roots = np.sqrt(counts / counts.sum(1, keepdims=True).clip(1))
    r = roots - near_by(roots, near)
    r = r / np.linalg.norm(r, axis=0).clip(1e-9)
    of_topic = r[:, words]
    pairs = np.square(of_topic.sum(-1)).sum(0) - np.square(of_topic).sum((0, -1))
    return pairs / max(words.shape[1] * (words.shape[1] - 1), 1)


def contrasted(on: np.ndarray, near: float = NEAR) -> np.ndarray:
    r"""Share of nearby frames with a unit off, averaged over frames with it on, (J,), in [0, 1).

    .. math:: \sum_t z_{tj} (K (1 - z_j))_t \Big/ \sum_t z_{tj}

    It is small for a unit that is on almost always. The words of `contrasting` then depend on a few
    frames only.

    Args:
        on: the probability z that each unit is on, (T, J).
        near: standard deviation of the kernel K over time, in frames.

    >>> often, once = np.arange(40) % 2, np.arange(40) < 20
    >>> contrasted(np.stack([often, once], 1).astype(float)).round(2)
    array([0.5 , 0.12])
    """
    return (on * near_by(1 - on, near)).sum(0) / on.sum(0).clip(1e-9)
