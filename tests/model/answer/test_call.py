"""The grammar of calls: what is read, what is refused, and that it agrees with transformers' reader of the format."""

from __future__ import annotations

from typing import Any

import pytest

from model.answer import FunctionCall
from model.answer.call import MAX_DEPTH, parse_call

QUOTE = '<|"|>'


def args_of(spelled: str) -> dict[str, Any]:
    return parse_call(f"call:f{{{spelled}}}".split(QUOTE)).args


@pytest.mark.parametrize(
    ("spelled", "args"),
    [
        ("", {}),
        ("n:42,m:-7,x:2.5,y:1e-3,z:0", {"n": 42, "m": -7, "x": 2.5, "y": 0.001, "z": 0}),
        ("b:true,c:false,d:null,e:None", {"b": True, "c": False, "d": None, "e": None}),
        ('s:<|"|>a<|"|>,t:<|"|><|"|>', {"s": "a", "t": ""}),
        ('s:<|"|> {x:[1,"2",\n} <|"|>', {"s": ' {x:[1,"2",\n} '}),
        ('l:[1,<|"|>a<|"|>,[],{}],o:{k:{k:1}}', {"l": [1, "a", [], {}], "o": {"k": {"k": 1}}}),
        ('<|"|>a:b<|"|>:1', {"a:b": 1}),
        (" a : 1 ,\n b : [ 2 , 3 ] ", {"a": 1, "b": [2, 3]}),
        ("first name:1,größe:2,a.b-c:3", {"first name": 1, "größe": 2, "a.b-c": 3}),
        ('a:"x\\n\\u00e9",b:["\\"",""]', {"a": "x\né", "b": ['"', ""]}),
        ("unit:celsius,sky:light rain", {"unit": "celsius", "sky": "light rain"}),
        ("n:9007199254740993", {"n": 9007199254740993}),
    ],
)
def test_arguments_are_read(spelled: str, args: dict[str, Any]) -> None:
    read = args_of(spelled)
    assert read == args
    assert [type(value) for value in read.values()] == [type(value) for value in args.values()]


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "1" * 5000, "0x10", "01", "1_0"]
)
def test_what_is_no_finite_json_number_is_a_string(number: str) -> None:
    assert args_of(f"n:{number}") == {"n": number}


@pytest.mark.parametrize(
    "spelled",
    [
        "a",
        "a:",
        ":1",
        "a:1,",
        ",a:1",
        "a:1 b:2",
        "a:[1",
        "a:[1}",
        "a:{b:1]",
        "a:[,]",
        "a:1}x",
        "a:1}}",
        "{a:1}",
        "a:1,a:2",
        'a:<|"|>x',
        'a:<|"|>x<|"|>y',
        'a:b<|"|>x<|"|>',
        'a:"x',
        'a:"\\q"',
        'a:"\\ud800"',
        'a:x"y"',
    ],
)
def test_broken_grammar_is_refused(spelled: str) -> None:
    with pytest.raises(ValueError):
        args_of(spelled)


@pytest.mark.parametrize("head", ["call:get_weather", ":get_weather", "\ncall:get_weather"])
def test_the_name_is_read(head: str) -> None:
    assert parse_call([head + "{}"]) == FunctionCall("get_weather", {})


@pytest.mark.parametrize(
    "head", ["", "get_weather", "call:", "call:get weather", "call:größe", "call:" + "f" * 65, "call:f "]
)
def test_a_name_that_no_function_can_have_is_refused(head: str) -> None:
    with pytest.raises(ValueError):
        parse_call([head + "{}"])


@pytest.mark.parametrize(("begin", "end"), [("{a:", "}"), ("[", "]")])
def test_depth_is_bounded_as_in_a_request(begin: str, end: str) -> None:
    def nested(levels: int) -> str:
        return "a:" + begin * levels + "1" + end * levels

    assert args_of(nested(MAX_DEPTH - 1))
    with pytest.raises(ValueError, match="nested"):
        args_of(nested(MAX_DEPTH))
