"""Roles as files: what ships is right, what people write is checked, what they add is used."""

import re
from pathlib import Path

import pytest

from evoseg.core.disk import data_folder
from evoseg.core.kinds import Kind
from evoseg.llm.agent_session import load_roles
from evoseg.llm.roles import RoleError, Schedule, read_role, read_roles
from evoseg.pipeline import read_text

SHIPPED = data_folder("agents")
GOOD = "---\nname: x\npurpose: y\noutput: programs\ninputs: [card]\n---\nWrite {{programs}}.\n"


def test_the_five_roles_ship():
    cast = load_roles(None)
    assert set(cast.roles) == {"describe", "propose", "critique", "choose", "frame"}
    assert [name for name, role in cast.roles.items() if role.output == "programs"] == ["propose"]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.md")), ids=lambda path: path.name)
def test_every_program_in_a_prompt_is_one(path):
    for text in re.findall(r"```\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
        if "def pipeline" in text:
            assert read_text(text).output is Kind.MASK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Write programs.", "must begin with front matter"),
        ("---\n: :\n- x\n---\n", "not YAML"),
        ("---\n- x\n---\n", "`key: value` lines"),
        ("---\nname: x\n---\n", "purpose: Field required"),
        (GOOD.replace("programs\ninputs", "program\ninputs"), "unknown output 'program'; did you mean programs"),
        (GOOD.replace("[card]", "[cards]"), "unknown input 'cards'; did you mean card"),
        (GOOD.replace("[card]", "card"), "inputs: Input should be a valid tuple"),
        (GOOD.replace("purpose", "tempo: 1\npurpose"), "unknown entry 'tempo'"),
        (GOOD.replace("purpose", "temperature: 3\npurpose"), "temperature: Input should be less than or equal to 2"),
        (GOOD.replace("purpose", "max_tokens: 5\npurpose"), "max_tokens: Input should be greater than or equal to 100"),
        (GOOD + "{{operator}}", "unknown part 'operator'; did you mean operators"),
    ],
)
def test_a_role_that_cannot_be_used_is_refused_by_file_and_fault(tmp_path, text, words):
    file = tmp_path / "mine.md"
    file.write_text(text)
    with pytest.raises(RoleError, match=re.escape(words)) as error:
        read_role(file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("role: propos", "unknown role 'propos'; did you mean propose"),
        ("role: critique", "critique gives no programs"),
        ("opening: [propose]", "propose gives no description"),
        ("rounds: 0", "rounds: Input should be greater than or equal to 1"),
        ("patience: many", "patience: Input should be a valid integer"),
        ("warmup: 2", "unknown entry 'warmup'"),
        ("impatience: 3", "unknown entry 'impatience'"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_refused(tmp_path, text, words):
    (tmp_path / "schedule.yaml").write_text(text)
    with pytest.raises(RoleError, match=re.escape(words)):
        read_roles([SHIPPED, tmp_path])


def test_a_folder_adds_roles_replaces_them_and_brings_prices(tmp_path):
    (tmp_path / "propose.md").write_text(GOOD.replace("name: x", "name: propose"))
    (tmp_path / "dream.md").write_text(GOOD.replace("name: x", "name: dream"))
    (tmp_path / "models.yaml").write_text("mine: {usd_in: 0, usd_out: 0}\n")
    cast = read_roles([SHIPPED, tmp_path])
    assert cast.roles["propose"].prompt == "Write {{programs}}." and "dream" in cast.roles
    assert cast.models["mine"].usd_in == 0 and "gpt-4.1" in cast.models


def test_a_schedule_changes_only_what_it_names(tmp_path):
    (tmp_path / "schedule.yaml").write_text("patience: 1\n")
    shipped = load_roles(None).schedule
    assert read_roles([SHIPPED, tmp_path]).schedule == shipped.model_copy(update={"patience": 1})
    assert shipped.opening == ("describe",) != ()


def test_a_missing_folder_and_a_price_without_numbers_are_named(tmp_path):
    with pytest.raises(RoleError, match="no such folder"):
        read_roles([SHIPPED, tmp_path / "none"])
    for prices, where in (
        ("usd_in: cheap, usd_out: 0", "usd_in"),
        ("usd_in: 1, usd_out: 1, as_of: lately", "as_of"),
        ("usd_in: 1, usd_out: 1, as_of: 7", "as_of"),
    ):
        (tmp_path / "models.yaml").write_text(f"mine: {{{prices}}}\n")
        with pytest.raises(RoleError, match=rf"models\.yaml: mine\.{where}: "):
            read_roles([SHIPPED, tmp_path])


def test_every_price_that_comes_with_evoseg_says_of_when_it_is():
    models = read_roles([SHIPPED]).models
    assert all(facts.as_of for name, facts in models.items() if not name.startswith("scripted"))


def test_the_first_round_begins_with_a_description():
    plan = Schedule()
    assert [plan.chain(n) for n in (1, 2, 3)] == [("describe", "propose"), ("propose",), ("propose",)]


def test_the_readme_explains_every_entry():
    text = Path(SHIPPED / "README.md").read_text("utf-8")
    for name in Schedule.model_fields:
        assert f"`{name}`" in text, name
