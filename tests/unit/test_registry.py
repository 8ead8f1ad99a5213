"""The registry: names, the two shapes, parameters from signatures, entry points, what stands behind."""

from __future__ import annotations

import enum
import functools
import importlib
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.errors import ConfigError, OobdumpError, ParameterError, UnknownHandler
from oobdump.registry import Registry

module = importlib.import_module("oobdump.registry")  # by name: the package may bind `registry` to the object


class Colour(enum.Enum):
    """A choice."""

    RED = 1
    BLUE = 2


def value_of(fn: Callable[..., Any], **params: str) -> Any:
    """What ``fn`` returns when it is registered and asked with texts."""
    registry = Registry()
    registry.register("it", fn)
    return fn(**registry.get("it").bind(params))


def refusal(fn: Callable[..., Any], **params: str) -> str:
    """The message with which parameters are refused; always a 400."""
    with pytest.raises(ParameterError) as caught:
        value_of(fn, **params)
    assert caught.value.code == 400
    return str(caught.value)


def two(request: Any, response: Any) -> None:
    """Two arguments."""


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_taken_name_is_refused_and_the_first_stays() -> None:
    """Registering twice raises what PyTorch raises, and changes nothing; ``replace`` changes it."""
    registry = Registry()
    registry.register("state", two)
    with pytest.raises(ValueError, match=r"^Handler state already registered$") as caught:
        registry.register("state", lambda: 1)
    assert isinstance(caught.value, ConfigError)
    assert registry.get("state").fn is two
    replacement = functools.partial(two)
    registry.register("state", replacement, replace=True)
    assert registry.get("state").fn is replacement


def test_an_unknown_name_says_what_pytorch_says() -> None:
    """The text is the one of FACTS 4, and the status 404."""
    with pytest.raises(UnknownHandler) as caught:
        Registry().get("nope")
    assert str(caught.value) == "Failed to find handler nope"
    assert caught.value.code == 404


@pytest.mark.parametrize("name", ["", "1st", "-a", "a b", "a/b", "..", "é", "a.b", "a\n", "<lambda>", "x" * 101])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    """Names are parts of file names: nothing else than letters, digits, ``_`` and ``-``."""
    with pytest.raises(ConfigError, match="is no handler name"):
        Registry().register(name, two)


@pytest.mark.parametrize("name", ["a", "_x", "A-1_b", "x" * 100])
def test_a_name_at_the_limits_is_taken(name: str) -> None:
    """The rule's own limits are inside it."""
    registry = Registry()
    registry.register(name, two)
    assert registry.names() == [name]


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class SlowToHash(str):
    """A name whose look-ups let the other threads go first: each check and each write is apart."""

    __slots__ = ()

    def __hash__(self) -> int:
        time.sleep(0)
        return str.__hash__(self)


@pytest.mark.usefixtures("hasty")
def test_of_many_threads_one_registers() -> None:
    """Eight threads take one name at once, again and again: each time exactly one has it."""
    registry = Registry()
    won: list[str] = []
    barrier = threading.Barrier(8)

    def take() -> None:
        for turn in range(50):
            barrier.wait()
            try:
                registry.register(SlowToHash(f"name{turn}"), lambda: None)
            except ConfigError:
                continue
            won.append(f"name{turn}")

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(f"name{turn}" for turn in range(50)) == registry.names()


# -- shapes ----------------------------------------------------------------------------------------------------------


class Callable2:
    """An object that is called with request and response."""

    def __call__(self, request: Any, response: Any) -> None:
        """Called."""


class Callable0:
    """An object that returns a value."""

    def __call__(self, *, count: int = 1) -> int:
        """Return ``count``."""
        return count

    def method(self, request: Any, response: Any) -> None:
        """Answer as a method."""


@pytest.mark.parametrize(
    "fn",
    [
        two,
        Callable2(),
        Callable0().method,
        functools.partial(two),
        lambda *arguments: None,
        lambda request, response=None: None,
        lambda request, response, /, *, extra=1: None,
        dict,  # has no signature: as PyTorch's C++ handlers
    ],
)
def test_two_positional_arguments_are_request_and_response(fn: Callable[..., Any]) -> None:
    """What takes two positional arguments, or does not tell, is called with request and response."""
    registry = Registry()
    registry.register("it", fn)
    handler = registry.get("it")
    assert not handler.returns_value
    assert handler.parameters == ()
    assert handler.bind({"anything": "goes"}) == {"anything": "goes"}


@pytest.mark.parametrize("fn", [lambda: 1, lambda *, a=1: a, Callable0(), functools.partial(Callable0(), count=2)])
def test_keyword_only_parameters_return_a_value(fn: Callable[..., Any]) -> None:
    """What has keyword-only parameters or none returns a value."""
    registry = Registry()
    registry.register("it", fn)
    assert registry.get("it").returns_value


@pytest.mark.parametrize(
    "fn",
    [
        lambda request: None,
        lambda a, b, c: None,
        lambda device=0, full=False: None,
        lambda **options: None,
        lambda request, response, *, needed: None,
    ],
)
def test_any_other_signature_is_refused_with_both_shapes(fn: Callable[..., Any]) -> None:
    """A signature that is neither shape is refused at once; the message shows how to write one."""
    with pytest.raises(ConfigError, match=r"write \(request, response\), or keyword-only parameters"):
        Registry().register("it", fn)


async def coroutine() -> None:
    """Nobody would await this."""


@pytest.mark.parametrize("fn", [coroutine, functools.partial(coroutine)])
def test_a_coroutine_function_is_refused(fn: Callable[..., Any]) -> None:
    """A coroutine function is refused when it is registered, and not when it is needed."""
    with pytest.raises(ConfigError, match="nobody awaits it"):
        Registry().register("it", fn)


def test_what_is_no_function_is_refused() -> None:
    """A mistake such as ``register("it", it())`` is told at once."""
    with pytest.raises(ConfigError, match="of type int: give a function"):
        Registry().register("it", 3)  # type: ignore[arg-type]


def test_help_is_the_docstrings_first_paragraph() -> None:
    """Help is one line, from the function below partials and objects."""

    def fn() -> None:
        """Say one thing
        on two lines.

        And details.
        """

    registry = Registry()
    registry.register("plain", fn)
    registry.register("partial", functools.partial(fn))
    registry.register("object", Callable0())
    registry.register("none", lambda: None)
    texts = [registry.get(name).help for name in ("plain", "partial", "object", "none")]
    assert texts == ["Say one thing on two lines.", "Say one thing on two lines.", "Return ``count``.", ""]


# -- parameters ------------------------------------------------------------------------------------------------------


def many(
    *,
    needed: str,
    count: int = 1,
    ratio: float = 0.5,
    flag: bool = False,
    mode: Literal["a", 2, True] = "a",
    colour: Colour = Colour.RED,
    maybe: int | None = None,
    perhaps: Optional[Literal["x"]] = None,  # noqa: UP045 - the old spelling must work too
    names: list[str] = [],  # noqa: B006
    sizes: tuple[int, ...] = (1, 2),
    helped: Annotated[int, "what it is for"] = 3,
    bare=True,
) -> dict[str, Any]:
    """Return what arrived."""
    return {**locals()}


def test_texts_become_values_by_annotation() -> None:
    """Each supported type is read from its text, though annotations are themselves texts here."""
    given_ = value_of(
        many,
        needed="é",
        count="-12",
        ratio="1e3",
        flag="true",
        mode="2",
        colour="BLUE",
        maybe="7",
        perhaps="none",
        names="a, b,c",
        sizes="",
        helped="4",
        bare="false",
    )
    expected = {
        "needed": "é",
        "count": -12,
        "ratio": 1000.0,
        "flag": True,
        "mode": 2,
        "colour": Colour.BLUE,
        "maybe": 7,
    }
    expected |= {"perhaps": None, "names": ["a", "b", "c"], "sizes": (), "helped": 4, "bare": False}
    assert given_ == expected
    assert [type(value) for value in given_.values()] == [type(value) for value in expected.values()]


def test_the_parameters_are_described() -> None:
    """Name, type, default and help of each are known, for ``handlers`` and for messages."""
    registry = Registry()
    registry.register("many", many)
    described = [(each.name, each.type, each.default, each.required) for each in registry.get("many").parameters]
    assert described == [
        ("needed", "str", None, True),
        ("count", "int", "1", False),
        ("ratio", "float", "0.5", False),
        ("flag", "bool", "false", False),
        ("mode", "a|2|true", "a", False),
        ("colour", "Colour", "RED", False),
        ("maybe", "int or none", "none", False),
        ("perhaps", "x or none", "none", False),
        ("names", "list of str", "", False),
        ("sizes", "list of int", "1,2", False),
        ("helped", "int", "3", False),
        ("bare", "bool", "true", False),
    ]
    assert registry.get("many").parameters[10].help == "what it is for"


@pytest.mark.parametrize(
    ("name", "text", "right"),
    [
        *[("flag", text, "valid values are true or false") for text in ("True", "1", "yes", "", " true", "FALSE")],
        *[
            ("count", text, "valid values are whole numbers")
            for text in ("1.0", "", "1_0", " 1", "٣", "0x1", "9" * 101)
        ],
        *[("ratio", text, "valid values are finite numbers") for text in ("nan", "inf", "1e999", "", "1_0", "x")],
        ("mode", "b", "valid values are a, 2 or true"),
        ("colour", "red", "valid values are RED or BLUE"),
        ("maybe", "x", "valid values are whole numbers or none"),
        ("sizes", "1,,2", "valid values are whole numbers, separated by commas"),
    ],
)
def test_a_malformed_value_is_refused_with_what_would_be_right(name: str, text: str, right: str) -> None:
    """A malformed value names the parameter, the valid values and the default."""
    message = refusal(many, needed="", **{name: text})
    assert message.startswith(f"Invalid value for {name} {right}")
    assert " = " in message


def test_an_unknown_or_missing_parameter_is_refused_with_the_known_ones() -> None:
    """The message begins as PyTorch's and lists parameters with types and defaults."""
    for message in (refusal(many, needed="", typo="1"), refusal(many)):
        assert "needed: str, count: int = 1, ratio: float = 0.5, flag: bool = false" in message
    assert refusal(many, needed="", typo="1").startswith("Invalid parameters - unexpected param passed in: 'typo'")
    assert refusal(many).startswith("Missing parameter needed;")
    assert "has no parameters" in refusal(lambda: 1, typo="1")


@given(st.dictionaries(st.sampled_from(["needed", "count", "ratio", "flag", "mode", "sizes", "x"]), st.text()))
def test_any_text_is_a_value_or_a_refusal(params: dict[str, str]) -> None:
    """Whatever texts arrive: keyword arguments or ``ParameterError``, and a printable message."""
    registry = Registry()
    registry.register("many", many)
    try:
        bound = registry.get("many").bind(params)
    except ParameterError as error:
        str(error).encode()
    else:
        assert bound.keys() == params.keys()


@given(st.integers(-(10**99), 10**99), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_numbers_survive_the_way_through_text(count: int, ratio: float, flag: bool) -> None:  # noqa: FBT001
    """A request's numbers travel as their ``repr``, and come out equal."""
    bound = value_of(many, needed="", count=repr(count), ratio=repr(ratio), flag="true" if flag else "false")
    assert (bound["count"], bound["ratio"], bound["flag"]) == (count, ratio, flag)
    assert math.copysign(1, bound["ratio"]) == math.copysign(1, ratio)


def bad_dict(*, options: dict[str, int]) -> None:
    """Never called."""


def bad_union(*, either: int | str = 1) -> None:
    """Never called."""


def bad_nested(*, rows: list[list[int]]) -> None:
    """Never called."""


def bad_fixed(*, pair: tuple[int, int]) -> None:
    """Never called."""


def bad_class(*, thing: threading.Event) -> None:
    """Never called."""


def bad_default(*, thing={}) -> None:  # noqa: B006
    """Never called."""


@pytest.mark.parametrize("fn", [bad_dict, bad_union, bad_nested, bad_fixed, bad_class, bad_default])
def test_a_type_without_a_text_form_is_refused_when_registered(fn: Callable[..., Any]) -> None:
    """What could never be asked for is an error where it is written, and names the parameter."""
    with pytest.raises(ConfigError, match=r"parameter \w+: no text can be read as .*use str, int"):
        Registry().register("it", fn)


def unresolvable(*, thing: NoSuchName = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Never called."""


def result_is_nobodys_business(*, count: int = 1) -> NoSuchName:  # type: ignore[name-defined]  # noqa: F821
    """Never called."""


def test_annotations_are_resolved_when_registered() -> None:
    """An unknown name in a parameter is an error at registration; in the result it is none."""
    with pytest.raises(ConfigError, match=r"cannot be resolved \(NameError.*NoSuchName"):
        Registry().register("it", unresolvable)
    Registry().register("it", result_is_nobodys_business)


# -- the default registry --------------------------------------------------------------------------------------------


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty default registry."""
    fresh = Registry()
    monkeypatch.setattr(module, "registry", fresh)
    return fresh


def test_the_decorator_registers_and_returns_the_function(default: Registry) -> None:
    """``@handler`` and ``@handler("name")`` leave the function as it is."""

    @module.handler
    def first() -> int:
        return 1

    @module.handler("second")
    def other() -> int:
        return 2

    assert (first(), other()) == (1, 2)
    assert module.get_handler_names() == ["first", "second"]
    assert module.get_handler("second") is other
    assert default.get("first").fn is first


def test_a_function_without_a_name_needs_one(default: Registry) -> None:
    """``@handler`` on a partial is an error and no handler called ``functools.partial(...)``."""
    with pytest.raises(ConfigError, match="is no handler name"):
        module.handler(functools.partial(two))
    assert default.names() == []


@pytest.mark.usefixtures("default")
def test_register_handler_is_pytorchs() -> None:
    """``register_handler`` and ``get_handler`` raise PyTorch's texts."""
    module.register_handler("two", two)
    with pytest.raises(ValueError, match="Handler two already registered"):
        module.register_handler("two", two)
    with pytest.raises(OobdumpError, match="Failed to find handler three"):
        module.get_handler("three")


# -- behind ours -----------------------------------------------------------------------------------------------------


class Behind:
    """A fallback with two handlers."""

    def names(self) -> list[str]:
        """Its names."""
        return ["ping", "theirs"]

    def find(self, name: str) -> Callable[[Any, Any], Any] | None:
        """One function for both."""
        return two if name in self.names() else None


def test_the_fallback_is_asked_last() -> None:
    """Names of both are listed once; ours hides the fallback's; the fallback's has two arguments."""
    registry = Registry(Behind())
    registry.register("ping", lambda: "ours")
    assert registry.names() == ["ping", "theirs"]
    assert registry.get("ping").returns_value
    assert registry.get("theirs").fn is two
    assert not registry.get("theirs").returns_value
    with pytest.raises(UnknownHandler):
        registry.get("nobodys")


# -- entry points ----------------------------------------------------------------------------------------------------

OFFERS = """[oobdump.handlers]
{prefix}_fine = {prefix}_package:fine
{prefix}_value = {prefix}_package:value
{prefix}_gone = {prefix}_package:gone
{prefix}_raises = {prefix}_raises:fine
{prefix}_exits = {prefix}_exits:fine
{prefix} bad name = {prefix}_package:fine
"""


@pytest.fixture
def offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed package with entry points, good and bad; gives the prefix of its names."""
    prefix = f"offer{abs(hash(tmp_path))}"
    files = {
        f"{prefix}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {prefix}\nVersion: 1.0\n",
        f"{prefix}-1.0.dist-info/entry_points.txt": OFFERS.format(prefix=prefix),
        f"{prefix}_package.py": "def fine(request, response): ...\ndef value(*, count: int = 1): return count\n",
        f"{prefix}_raises.py": "raise RuntimeError('broken at import')\n",
        f"{prefix}_exits.py": "raise SystemExit(3)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return prefix


def test_entry_points_are_loaded_and_broken_ones_told(offers: str) -> None:
    """Good ones are registered; each broken one is one line with its name and cause; a second call changes nothing."""
    registry = Registry()
    problems = registry.load_entry_points()
    mine = sorted(name for name in registry.names() if name.startswith(offers))
    assert mine == [f"{offers}_fine", f"{offers}_value"]
    causes = {name: line for line in problems for name in ("gone", "raises", "exits", "bad name") if name in line}
    assert len(causes) == 4
    assert "RuntimeError: broken at import" in causes["raises"]
    before = registry.names()
    assert len(registry.load_entry_points()) == len(problems)
    assert registry.names() == before


def test_an_entry_point_does_not_replace_a_users_handler(offers: str) -> None:
    """What the program registered stays, and the entry point is told as a problem."""
    registry = Registry()
    registry.register(f"{offers}_fine", two)
    problems = registry.load_entry_points()
    assert any(f"Handler {offers}_fine already registered" in line for line in problems)
    assert registry.get(f"{offers}_fine").fn is two


def test_looking_up_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``get``, ``names`` and ``bind`` run while the import lock may be held: they import nothing."""
    registry = Registry(Behind())
    registry.register("many", many)

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"imported {arguments[0]}")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.__import__", refuse)
        bound = registry.get("many").bind({"needed": "", "sizes": "1", "colour": "RED"})
        names = registry.names()
        with pytest.raises(ParameterError):
            registry.get("many").bind({"needed": "", "count": "x"})
    assert bound["sizes"] == (1,)
    assert "many" in names
    assert sys.modules
