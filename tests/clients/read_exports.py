"""Reads what the gateway hands out for finance with programs of others: openpyxl, pdftotext, hyparquet, beancount.

Usage: read_exports.py BASE-URL USER-LOGIN PASSWORD ADMIN-PASSWORD MONTH
Prints one JSON object with what it found; ends with an error where two of them tell different things.
"""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from decimal import Decimal

import openpyxl

base, user_login, password, admin_password, month = sys.argv[1:]


class Person:
    def __init__(self, login, password):
        body = json.dumps({"login": login, "password": password}).encode()
        request = urllib.request.Request(base + "/api/user/login", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.cookie = answer.headers["set-cookie"].split(";")[0]

    def ask(self, path, body=None):
        headers = {"cookie": self.cookie, "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(base + path, data, headers)) as answer:
            return answer.headers, answer.read()

    def json(self, path, body=None):
        return json.loads(self.ask(path, body)[1])


def table_of_csv(data):
    text = data.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def table_of_xlsx(data):
    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    assert all(cell.data_type != "f" for row in openpyxl.load_workbook(io.BytesIO(data)).worksheets[0] for cell in row)
    shown = lambda it: "" if it is None else repr(it) if isinstance(it, float) else str(it)
    return [dict(zip(rows[0], map(shown, row))) for row in rows[1:]]


def table_of_parquet(data):
    reader = os.path.join(os.path.dirname(os.path.abspath(__file__)), "read_parquet.mjs")
    return json.loads(subprocess.run(["node", reader], input=data, capture_output=True, check=True).stdout)


def number(text):
    return Decimal(text) if text else Decimal(0)


def check_statement(person):
    path = f"/api/user/statements?month={month}&format="
    told = person.json(path + "json")
    total = sum(number(told[name]) * sign for name, sign in
                [("opening", 1), ("credits", 1), ("charges", -1), ("refunds", -1), ("adjustments", 1)])
    assert total == number(told["closing"]), told
    for name, read in [("csv", table_of_csv), ("xlsx", table_of_xlsx)]:
        headers, data = person.ask(path + name)
        assert f'filename="statement-{month}.{name}"' in headers["content-disposition"], headers
        rows = read(data)
        assert (rows[0]["kind"], rows[-1]["kind"]) == ("opening", "closing"), rows
        moved = sum(number(row["credits"]) for row in rows[1:-1])
        assert number(rows[0]["balance"]) + moved == number(rows[-1]["balance"]) == number(told["closing"]), rows
        assert [row["description"] for row in rows[1:-1]] == [line["description"] for line in told["lines"]]
    headers, data = person.ask(path + "pdf")
    assert headers["content-type"] == "application/pdf"
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(data)
        file.flush()
        text = subprocess.run(["pdftotext", "-layout", file.name, "-"], capture_output=True, check=True).stdout.decode()
    lines = [line.split() for line in text.splitlines()]
    assert ["Closing", "balance", told["closing"]] in lines, text
    assert ["Opening", "balance", told["opening"]] in lines, text
    for line in told["lines"]:
        assert any(found[-2:] == [line["amount"], line["balance"]] for found in lines), (line, text)
        for word in line["description"].split():
            assert word.rstrip(":") in text, (word, text)
    return told


def export(person, kind, form):
    made = person.json("/api/admin/exports", {"kind": kind, "format": form, "from": month + "-01"})
    deadline = time.monotonic() + 60
    while made["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, made
        time.sleep(0.05)
        made = person.json("/api/admin/exports/" + made["id"])
    assert made["state"] == "done", made
    headers, data = person.ask(f"/api/admin/exports/{made['id']}/file")
    assert made["sha256"] == hashlib.sha256(data).hexdigest() and made["bytes"] == len(data), made
    assert made["file_name"] in headers["content-disposition"], (made, headers)
    return made, data


def check_exports(person, closing):
    found = {}
    for kind in ["journal", "trial_balance", "billing", "usage", "deferred_revenue", "margin", "unmatched"]:
        made, data = export(person, kind, "csv")
        found[kind] = rows = table_of_csv(data)
        assert len(rows) == made["rows_done"], made
        assert rows or kind in ("margin", "deferred_revenue"), kind
        # Everything before and behind it stands still, so that the other formats say the same; but for the clock.
        for read, form in [(table_of_xlsx, "xlsx"), (table_of_parquet, "parquet")]:
            assert table_of_rows(read(export(person, kind, form)[1])) == table_of_rows(rows), (kind, form)
    books = defaultdict(Decimal)
    for row in found["journal"]:
        book = "liability:credits" if row["book"].startswith("liability:credits:") else row["book"]
        books[row["unit"], book] += number(row["debit"]) - number(row["credit"])
    trial = {(row["unit"], row["book"]): number(row["closing"]) - number(row["opening"]) for row in found["trial_balance"]}
    assert {name: it for name, it in books.items() if it} == {name: it for name, it in trial.items() if it}, (books, trial)
    assert all(sum(it for (unit, _), it in trial.items() if unit == one) == 0 for one in {unit for unit, _ in trial})
    used = sum(number(row["paid"]) for row in found["usage"])
    assert used == sum(number(row["paid"]) for row in found["margin"])
    check_beancount(person)
    return {"books": {f"{unit} {book}": str(it) for (unit, book), it in trial.items()}, "used": str(used),
            "deferred": found["deferred_revenue"], "journal": len(found["journal"])}


def table_of_rows(rows):
    def same(text):
        try:
            return str(Decimal(text).normalize())
        except ArithmeticError:
            return text
    # An apostrophe guards a text against being a formula in CSV only.
    timeless = lambda row: {name: value for name, value in row.items() if name != "as_of_utc"}
    return [{name: same(value).removeprefix("'") for name, value in timeless(row).items()} for row in rows]


def check_beancount(person):
    data = export(person, "journal", "beancount")[1].decode()
    assert " balance Liabilities:Credits " in data, data
    check = lambda text: run_bean_check(text)
    assert check(data) == "", check(data)
    # It would have seen a line that is not there, and an amount that is another.
    lines = data.splitlines()
    posting = next(at for at, line in enumerate(lines) if line.startswith("  ") and line.endswith(" CREDIT"))
    assert "does not balance" in check("\n".join(lines[:posting] + lines[posting + 1:])), "bean-check saw nothing"
    last = max(at for at, line in enumerate(lines) if " balance " in line)
    account, amount, unit = lines[last].split()[2:]
    lines[last] = lines[last].replace(f" {amount} {unit}", f" {Decimal(amount) + 1} {unit}")
    assert "Balance failed" in check("\n".join(lines)), "bean-check saw nothing"


def run_bean_check(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "journal.beancount")
        with open(path, "w") as file:
            file.write(text)
        command = [sys.executable, "-m", "beancount.scripts.check", "--no-cache", path]
        ended = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        return (ended.stdout + ended.stderr).decode() or ("" if ended.returncode == 0 else f"status {ended.returncode}")


user, admin = Person(user_login, password), Person("admin", admin_password)
statement = check_statement(user)
found = check_exports(admin, statement["closing"])
print(json.dumps({"statement": statement, **found}))
