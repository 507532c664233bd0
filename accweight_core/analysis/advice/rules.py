"""The rules of advice, as data: what each says, from where on, why, and what would refute it.

A rule is a hypothesis. Its thresholds are proposals, from the sources named and from looking at
runs. What was measured of it in 47 runs (`benchmarks/validity`) is its `standing`: none was
shown to beat chance. To add a rule, add an entry here and a function of the same name in `cases`,
which finds where it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FACT, HYPOTHESIS = "fact", "hypothesis"
"""What a rule tells: what follows from the numbers, or what they suggest."""

UNTESTED = "unproven: it held in none of 47 runs of small networks, so nothing is known of it"
CERTAIN = "follows from the weights themselves"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: Its name, and that of its function in `cases`.
        title: What is the case, in a few words.
        kind: `FACT` or `HYPOTHESIS`.
        suggestion: What to do.
        test: How to find out whether that is right.
        refuted_by: What would show that it is wrong.
        source: Where the rule comes from.
        thresholds: From where on it holds, by name.
        fewest_steps: Checkpoints it needs.
        needs_criticality: Whether it is silent without results of `rewind`.
        standing: What is known of the rule itself.
    """

    name: str
    title: str
    kind: str
    suggestion: str
    test: str
    refuted_by: str
    source: str
    thresholds: dict[str, float] = field(default_factory=dict)
    fewest_steps: int = 2
    needs_criticality: bool = False
    standing: str = UNTESTED


RULES = (
    Rule(
        "nonfinite",
        "numbers overflowed",
        FACT,
        "lower the learning rate, clip gradients, or look at the loss at this step",
        "train again from the checkpoint before, with half the rate",
        "the same happens at any rate: then a division by zero or a faulty batch is the cause",
        "the findings of `accweight check`",
        standing="follows from the weights, or the loss that was logged",
    ),
    Rule(
        "never_moved",
        "never moved",
        FACT,
        "if it was to be trained: is it in the optimizer, and does a gradient reach it?",
        "print its gradient in one step; or accweight check --expect-moving NAME",
        "it was frozen on purpose",
        "the findings of `accweight check`: bit-equal in every checkpoint",
        standing=CERTAIN,
    ),
    Rule(
        "went_dead",
        "stopped moving while others went on",
        FACT,
        "if it was not frozen: look for a gradient that is exactly 0, as behind dead ReLUs",
        "print its gradient, and the share of its outputs that are 0, at the last checkpoint",
        "it was frozen from this step on, or a schedule set its rate to 0",
        "bit-equal weights mean that no update reached them (or all were rounded away)",
        {"fewest still checkpoints": 2},
        fewest_steps=4,
        standing=CERTAIN,
    ),
    Rule(
        "exploding",
        "its norm explodes",
        HYPOTHESIS,
        "lower its learning rate, or add weight decay or a norm",
        "train again with a tenth of its rate: accuracy must not fall",
        "the norm still grows while loss and accuracy keep improving",
        "growth of the norm without bound goes before divergence (Pascanu et al., 2013, "
        "arXiv 1211.5063)",
        {"norm over the first": 10.0},
    ),
    Rule(
        "vanishing",
        "its norm vanishes",
        HYPOTHESIS,
        "lower its weight decay",
        "train again without weight decay on it: accuracy must not fall",
        "accuracy falls without the decay: the layer is not needed, and may be left out",
        "weights whose gradient is small shrink by (1 - rate x decay) in every update "
        "(Loshchilov and Hutter, 2019, arXiv 1711.05101)",
        {"norm under the first": 0.1},
    ),
    Rule(
        "decay_alone",
        "moved by weight decay alone",
        HYPOTHESIS,
        "the data have hardly taught this layer: raise its rate, or take it out of the decay",
        "train again without weight decay on it: its movement must vanish",
        "without decay it moves as far",
        "decay shrinks weights and keeps their direction, gradients turn them (layer rotation, "
        "arXiv 1806.01603)",
        {"share of the displacement along the weights": 0.9},
    ),
    Rule(
        "oscillating",
        "goes back and forth",
        HYPOTHESIS,
        "its learning rate may be too high: lower it, or average its weights over checkpoints",
        "train again with half its rate: the final loss must not rise",
        "the final loss rises with half its rate",
        "steps that undo each other end nearer than a random walk; with too high a rate they do "
        "(edge of stability, arXiv 2103.00065)",
        {"random walk's displacement over its own": 1.25},
        fewest_steps=5,
    ),
    Rule(
        "came_back",
        "moved away and came back",
        HYPOTHESIS,
        "what it learned was undone: look at rate and data around the farthest step",
        "evaluate the checkpoint of the farthest step: is it better than the last?",
        "loss and accuracy are better at the end",
        "displacement from the first checkpoint, over the steps",
        {"farthest over last displacement": 1.5},
        fewest_steps=4,
    ),
    Rule(
        "all_settled",
        "the whole run settled early",
        HYPOTHESIS,
        "train fewer steps, or restart the learning rate: most later steps changed little",
        "evaluate the checkpoint of this step: is accuracy within 0.5 points of the last?",
        "accuracy still grew after this step",
        "a learning rate that falls to zero makes all layers settle at once",
        {"share of the layers": 0.8, "share of training": 0.5},
        fewest_steps=5,
    ),
    Rule(
        "settled_early",
        "settled before the others",
        HYPOTHESIS,
        "freeze it from this step on: it saves the gradient and the optimizer's state",
        "put it back to this step (rewind): nothing must be lost; then train with it frozen from "
        "there: accuracy must stay within 0.5 points",
        "accuracy falls by more than when a random other layer is frozen",
        "layers converge from the input on (SVCCA, Raghu et al., 2017, arXiv 1706.05806; "
        "FreezeOut, arXiv 1706.04983)",
        {"share of training": 0.5, "before the median layer": 0.2},
        fewest_steps=5,
        standing="unproven: it held in 2 of 47 runs; layers nearest to it, frozen from half of "
        "training, did no better than layers drawn at random",
    ),
    Rule(
        "still_moving",
        "still moving at the end",
        HYPOTHESIS,
        "train longer, or raise its rate if it alone goes on",
        "train on for a quarter of the steps: does the loss on unseen data fall?",
        "the loss on unseen data does not fall any more",
        "a layer that has arrived moves less than at its busiest; one that goes straight on has "
        "not arrived",
        {"last movement over the largest": 0.5},
        fewest_steps=4,
        standing="unproven: in a quarter more of training the loss fell in 6 of 8 runs in which it "
        "held, and in 10 of 19 others, which may be chance",
    ),
    Rule(
        "like_noise",
        "moved as a random walk does",
        HYPOTHESIS,
        "noise may outweigh its gradient: a larger batch, a lower rate, or averaged weights",
        "average its weights over the last checkpoints: the loss must not rise",
        "the loss rises with averaged weights",
        "displacement of a random walk with steps of the same sizes (docs/metrics.md)",
        {"difference from the walk's displacement": 0.05},
        fewest_steps=5,
        standing="unproven, and no better than chance: averaged weights did not raise the loss for "
        "9 of 10 layers that it named, and for 89% of the others",
    ),
    Rule(
        "far_not_critical",
        "moved far, but putting it back loses little",
        HYPOTHESIS,
        "make it narrower or leave it out, or train it at a lower rate",
        "train with half its width: accuracy must stay within 0.5 points",
        "accuracy falls by more than when a random other layer is made narrower",
        "ambient layers (Zhang, Bengio and Singer, JMLR 2022); movement does not tell need",
        {"rank of relative, upper share": 1 / 3, "share of the largest criticality": 0.1},
        needs_criticality=True,
        standing="unproven: in 10 dense networks, halving a layer that it named cost 1.0 points "
        "less than one drawn at random (-0.5 to 3.0), 1.7 less than the most critical (0.1 to 3.6)",
    ),
    Rule(
        "critical_hardly_moving",
        "critical, though it hardly moved",
        HYPOTHESIS,
        "a little training matters here: try a higher rate for it, and do not freeze it",
        "train with twice its rate: does the loss on unseen data fall?",
        "the loss does not fall, or rises",
        "critical layers (Zhang, Bengio and Singer, JMLR 2022)",
        {"rank of relative, lower share": 1 / 3, "share of the largest criticality": 0.5},
        needs_criticality=True,
        standing="unproven: it held in 3 of 47 runs; layers nearest to it, at twice their rate, "
        "did no better than layers drawn at random",
    ),
)
"""All rules, in the order of advice: what is wrong first."""
