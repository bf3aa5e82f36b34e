"""What the contract asks of every method, checked for each module that ``methods.contract`` finds."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks.plan import declared
from methods import contract
from methods.contract import Batch, Experiment, Recipe, Row, Setup, asked
from methods.network import Network
from tests.methods.training import CLASSES, NETWORKS, Run, batches, domain, domains, start

NAMES = contract.names()
GRANTED_ALONE = [("sdt", "target")]
"""Variants that learn from granted labels alone; see their own tests."""
APART = [("sdt", variant) for variant in contract.load("sdt").variants if not variant.endswith("by-domain")]
"""Variants that leave granted labels out, or weigh them otherwise; see their own tests."""
VARIANTS = [
    (name, variant)
    for name in NAMES
    if contract.load(name).step
    for variant in contract.load(name).variants
    if (name, variant) not in GRANTED_ALONE
]
"""Of the methods that train."""
LABELLED_TERMS = {"classification", "soft_labels"}
"""Terms over labelled images."""
ADAPTED = [
    (name, variant) for name in NAMES if not contract.load(name).step for variant in contract.load(name).variants
]
"""Of those that only make something of what others have trained."""
EXPERIMENTS = [
    pytest.param(experiment, id=f"{name}-{experiment.name}")
    for name, paper in contract.papers().items()
    for experiment in paper.experiments
]
STEPS = 10


def rate(name: str, variant: str) -> float:
    """0.05, or the largest at which the experiments train the variant if all of them train it more slowly."""
    experiments = [experiment for paper in contract.papers().values() for experiment in paper.experiments]
    own = [
        recipe.rate
        for experiment in experiments
        if any((row.method, row.variant) == (name, variant) for row in experiment.rows)
        for recipe in experiment.recipes.values()
    ]
    return min(0.05, max(own, default=0.05))


def fresh(name: str, variant: str) -> Run:
    """An untrained run on the first tiny network that the variant applies to."""
    method = contract.load(name)
    config = method.variants[variant]
    for network in NETWORKS.values():
        if method.applies is None or method.applies(config, network()) is None:
            return start(method, config, network, rate=rate(name, variant))
    raise AssertionError(f"{name}/{variant} applies to none of {', '.join(NETWORKS)}")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@dataclasses.dataclass(frozen=True)
class Grown:
    """A configuration that got a field."""

    first: float = 1.0
    later: bool = contract.added(True)


def test_a_field_that_came_later_is_named_where_it_is_not_as_before() -> None:
    assert contract.config_values(Grown()) == {"first": 1.0}
    assert contract.config_values(Grown(2.0, later=False)) == {"first": 2.0, "later": False}
    method = dataclasses.replace(contract.load("source_only"), config=Grown)
    for config in (Grown(), Grown(later=False)):
        assert contract.config_of(method, contract.config_values(config)) == config


def test_the_suite_has_methods() -> None:
    assert {"dan", "source_only"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_declares_can_be_planned(name: str) -> None:
    declared.check(name)


@pytest.mark.parametrize("name", NAMES)
def test_default_variant_and_frozen_configurations(name: str) -> None:
    method = contract.load(name)
    assert method.variants["default"] == method.config()
    rows = [row for one in contract.papers().values() for experiment in one.experiments for row in experiment.rows]
    longer = {row.variant for row in rows if row.method == name and row.times > 1}
    values = {variant: config for variant, config in method.variants.items() if variant not in longer}
    # One may keep the paper's value of a setting that is chosen for the other.
    known = {(repr(config), variant in method.fixed) for variant, config in values.items()}
    assert len(known) == len(values), "two variants are the same configuration"
    assert method.config.__dataclass_params__.frozen


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name: str) -> None:
    module = importlib.import_module(f"methods.{name}")
    config = module.METHOD.config
    body = ast.parse(inspect.getsource(config)).body[0]
    assert isinstance(body, ast.ClassDef)
    documented = {
        field.target.id
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
    assert {field.name for field in dataclasses.fields(config)} == documented
    assert len(module.__doc__ or "") > 200


@pytest.mark.parametrize("path", sorted(Path(contract.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_methods_import_neither_harness_nor_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not {module.split(".")[0] for module in modules} & {"benchmarks", "datasets", "report"}


def test_a_batch_has_no_target_labels_but_granted_ones() -> None:
    assert Batch._fields == ("source_x", "source_y", "target_x", "progress", "labelled_target_x", "labelled_target_y")
    assert Batch._field_defaults == {"labelled_target_x": None, "labelled_target_y": None}


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_ten_steps_learn_the_source(name: str, variant: str) -> None:
    run = fresh(name, variant)
    before = copy.deepcopy(dict(run.model.named_parameters()))
    x, y = domain(300, 999)
    untrained = cross_entropy(run.logits(x), y).item()
    run.train(batches(STEPS))
    assert all(torch.tensor(list(terms.values())).isfinite().all() for terms in run.history)
    trained = cross_entropy(run.logits(x), y).item()
    assert trained < 0.9 * untrained, (
        f"{name} {variant}: the source's cross-entropy is {trained:.3f} after {STEPS} steps at rate "
        f"{rate(name, variant)} and was {untrained:.3f} before; it has to fall by a tenth"
    )
    moving = {id(p) for group in run.optimiser.param_groups for p in group["params"]}
    for key, parameter in run.model.named_parameters():
        assert torch.equal(parameter, before[key]) == (id(parameter) not in moving), key
    if run.method.diagnostics:
        with torch.no_grad():
            figures = run.method.diagnostics(run.model.eval(), domains())
        assert all(isinstance(value, float) for value in figures.values())


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_the_classification_term_ignores_the_order_of_the_target(name: str, variant: str) -> None:
    (batch,) = batches(1)
    shuffled = batch._replace(target_x=batch.target_x.flip(0))
    a, b = (fresh(name, variant).train(iter([one])).history[0]["classification"] for one in (batch, shuffled))
    assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize(("name", "variant"), [one for one in VARIANTS if one not in APART])
def test_granted_labels_are_learned_from(name: str, variant: str) -> None:
    """Their term is the mean cross-entropy over source and granted images, and their labels count."""
    (batch,) = batches(1, labelled_target=9)
    assert batch.labelled_target_y is not None
    other = batch._replace(labelled_target_y=(batch.labelled_target_y + 1) % CLASSES)
    a, b = (fresh(name, variant).train(iter([one])).history[0] for one in (batch, other))
    assert a["classification"] != b["classification"]
    assert {k: v for k, v in a.items() if k not in LABELLED_TERMS} == {
        k: v for k, v in b.items() if k not in LABELLED_TERMS
    }
    logits = labelled_logits(without_dropout(fresh(name, variant)).model, batch)
    wanted = cross_entropy(logits, torch.cat([batch.source_y, batch.labelled_target_y])).item()
    run = without_dropout(fresh(name, variant))
    assert run.train(iter([batch])).history[0]["classification"] == pytest.approx(wanted, rel=1e-5)


def without_dropout(run: Run) -> Run:
    contract.network_of(run.model).dropout.p = 0.0
    return run


def labelled_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Of source and granted images; a model whose layers must know the images' domains has ``passes`` of its own."""
    assert batch.labelled_target_x is not None
    passes_of = getattr(model, "passes", None)
    if passes_of is not None and not isinstance(model, Network):
        passes = passes_of(batch.source_x, batch.target_x, batch.labelled_target_x)
        return torch.cat([passes.source["fc8"], passes.labelled_target["fc8"]])
    network = contract.network_of(model)
    return torch.cat([network(batch.source_x), network(batch.labelled_target_x)])


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_equal_seeds_give_equal_bits(name: str, variant: str) -> None:
    a, b = (fresh(name, variant).train(batches(STEPS)).model.state_dict() for _ in range(2))
    assert same(a, b)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_an_interrupted_run_continues_with_the_same_bits(name: str, variant: str) -> None:
    # Interrupted within an epoch, where a method may hold what it has gathered so far.
    whole = fresh(name, variant).train(batches(STEPS))
    first = fresh(name, variant).train(batches(6, of=STEPS))
    second = fresh(name, variant)
    second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
    second.optimiser.load_state_dict(copy.deepcopy(first.optimiser.state_dict()))
    second.taken = first.taken
    second.train(batches(STEPS, first=6))
    assert same(second.model.state_dict(), whole.model.state_dict())
    assert first.history + second.history == whole.history


@pytest.mark.parametrize(("name", "variant"), ADAPTED)
def test_what_trains_nothing_makes_the_same_of_the_same_networks(name: str, variant: str) -> None:
    a, b = (fresh(name, variant) for _ in range(2))
    assert same(a.model.state_dict(), b.model.state_dict())
    assert a.logits(domain(50, 999)[0]).isfinite().all()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments_can_be_trained(experiment: Experiment) -> None:
    assert experiment.seeds > 0
    for recipe in experiment.recipes.values():
        assert 0 < recipe.epoch <= recipe.steps
    configs = [contract.load(row.method).variants[row.variant] for row in experiment.rows]
    for option, values in experiment.sweep.items():
        having = next(config for config in configs if hasattr(config, option))
        for value in values:
            dataclasses.replace(having, **{option: value})


@pytest.mark.parametrize("name", contract.papers())
def test_each_claim_is_said_once(name: str) -> None:
    """No two make the same comparison in the same experiment, and those of one name are one statement."""
    texts: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for claim in contract.papers()[name].claims:
        assert texts.setdefault(claim.name, claim.text) == claim.text
        assert claim.experiments, claim.name
        assert claim.whose in contract.WHOSE
        sides = [(claim.better, claim.better_setting), (claim.worse, claim.level or claim.worse_setting)]
        # One that allows a margin is another one the other way round.
        order = tuple(sides) if claim.margin else frozenset(sides)
        rest = (claim.metric, claim.tasks, claim.than, claim.than_setting, claim.ranks)
        for experiment in claim.experiments:
            assert seen.setdefault((experiment, order, *rest), claim.name) is claim.name, (experiment, order, *rest)
        assert claim.where or not claim.on or claim.whose == "ours", f"{claim.name} has no place in the paper"


def test_a_question_is_asked_wherever_it_is_set_up() -> None:
    """Each set-up is an experiment of its own name, with all that they share and the recipe of each data set."""
    recipes = {"digits": Recipe(steps=20, epoch=5, rate=0.1), "digits-mini": Recipe(steps=10, epoch=5, rate=0.1)}
    small = Setup(recipes, seeds=7).on("digits-mini")
    late = Setup(Recipe(steps=30, epoch=5, rate=0.2), backbone="lite0", track="late", published=("Table1",))
    rows = (Row("source_only"), Row("dan"))
    setups = {"first": small, "second": late.on("office31", "folder", seeds=2)}
    first, second = asked("Is it so?", rows, setups, baseline=rows[1], default=False, sweep={"weight": (0.1, 1.0)})
    assert (first.name, first.seeds, first.track, dict(first.recipes)) == (
        *("first", 7, "finetune"),
        {"digits-mini": recipes["digits-mini"]},
    )
    assert (second.name, second.seeds, second.backbone, list(second.recipes)) == (
        *("second", 2, "lite0"),
        ["office31", "folder"],
    )
    assert (second.published, first.published) == (("Table1",), ())
    for experiment in (first, second):
        assert (experiment.title, experiment.rows, experiment.baseline) == ("Is it so?", rows, rows[1])
        assert (experiment.sweep, experiment.default) == ({"weight": (0.1, 1.0)}, False)
    assert asked("Is it so?", rows, {"first": small})[0].baseline == rows[0]


@pytest.mark.parametrize("name", contract.papers())
def test_claims_compare_what_differs(name: str) -> None:
    paper = contract.papers()[name]
    experiments = {experiment.name: experiment for experiment in paper.experiments}
    asked_in = [(claim, experiments[one]) for claim in paper.claims for one in claim.experiments]
    for claim, experiment in asked_in:
        same = (claim.better, claim.better_setting) == (claim.worse, claim.worse_setting)
        assert not same or claim.level is not None or claim.ranks
        tasks = {task for its in experiment.tasks.values() for task in its}
        elsewhere = set(experiment.recipes) - set(experiment.tasks)  # data sets with their own usual tasks
        assert elsewhere or not tasks or set(claim.tasks) <= tasks
