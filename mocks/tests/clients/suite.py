"""Runs checks of the official Python clients against `fact mocks`: each check with mocks of its own.

    python suite.py FACT claude|arcade [--only TEXT] [--mutants]

`--mutants` starts the mocks once for each mistake that they can make on purpose, and fails when a mistake goes unseen.
"""

import argparse
import concurrent.futures
import importlib
import json
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

CHECKS = []


def check(function=None, *, script=None, slow=False):
    """Registers a check: `def name(mocks)`. `script` is what a scenario file says under `claude:` and `arcade:`;
    a slow one waits for more than a second and is left out with mutants."""

    def register(function):
        CHECKS.append((function.__name__, function, script, slow))
        return function

    return register(function) if function else register


class Mocks:
    """A `fact mocks` process: `claude` and `arcade` are its addresses."""

    def __init__(self, fact, script=None, mutant=None):
        arguments = [fact, "mocks", "--claude", "127.0.0.1:0", "--arcade", "127.0.0.1:0", "--seed", "7"]
        if script is not None:
            self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
            json.dump(script, self.file)
            self.file.flush()
            arguments += ["--script", self.file.name]
        if mutant is not None:
            arguments += ["--mutant", mutant]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(arguments)} did not start")
        addresses = json.loads(line)
        self.claude, self.arcade = addresses["claude"], addresses["arcade"]

    def control(self, path, body=None, base=None, method=None):
        """Asks the control plane, of Claude unless `base` says otherwise: a POST when there is a body."""
        data = None if body is None else json.dumps(body).encode()
        method = method or ("GET" if data is None else "POST")
        request = urllib.request.Request((base or self.claude) + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def script(self, *rules, base=None):
        """Queues rules of the control plane."""
        self.control("/_mock/script", {"rules": list(rules)}, base)

    def requests(self, base=None):
        """The journal: what reached the mock."""
        return self.control("/_mock/requests", base=base)["requests"]

    def ledger(self, base=None):
        return self.control("/_mock/ledger", base=base)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def raises(kind, function, *arguments, **named):
    """Calls, and returns the exception of exactly this class."""
    try:
        result = function(*arguments, **named)
    except Exception as error:
        assert type(error) is kind, f"expected {kind.__name__}, got {type(error).__name__}: {error}"
        return error
    raise AssertionError(f"expected {kind.__name__}, got {result!r:.300}")


def attempt(fact, entry, mutant=None):
    """Runs one check; returns what went wrong, or nothing."""
    _, function, script, _ = entry
    try:
        with Mocks(fact, script, mutant) as mocks:
            function(mocks)
    except Exception:
        return traceback.format_exc()
    return None


def run(fact, checks):
    failed = 0
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for entry, trouble in zip(checks, pool.map(lambda entry: attempt(fact, entry), checks)):
            if trouble:
                failed += 1
                print(f"FAILED {entry[0]}\n{trouble}")
    print(f"{len(checks) - failed} of {len(checks)} checks passed in {time.monotonic() - began:.1f} s")
    return failed == 0


def hunt(fact, checks, kind):
    """Every mistake must be seen by a check that passes without it."""
    listed = subprocess.run([fact, "mocks", "--mutants"], check=True, capture_output=True, text=True).stdout
    mutants = [name for name in listed.split() if name.startswith(kind + ".")]
    # A check that fails anyway has seen nothing.
    checks = [entry for entry in checks if not entry[3] and not attempt(fact, entry)]

    def killer(mutant):
        # A check that speaks of what the mistake is about comes first.
        words = mutant.split(".", 1)[1].split("-")
        order = sorted(checks, key=lambda entry: -sum(word in entry[0] for word in words))
        return next((entry[0] for entry in order if attempt(fact, entry, mutant)), None)

    survivors = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for mutant, seen_by in zip(mutants, pool.map(killer, mutants)):
            survivors += seen_by is None
            print(f"{mutant}: " + (f"seen by {seen_by}" if seen_by else "NOT SEEN"))
    print(f"{len(mutants) - survivors} of {len(mutants)} mistakes seen")
    return mutants != [] and survivors == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fact")
    parser.add_argument("suite", choices=["claude", "arcade"])
    parser.add_argument("--only", default="")
    parser.add_argument("--mutants", action="store_true")
    arguments = parser.parse_args()
    sys.modules["suite"] = sys.modules["__main__"]
    importlib.import_module(arguments.suite + "_checks")
    checks = [entry for entry in CHECKS if arguments.only in entry[0]]
    passed = hunt(arguments.fact, checks, arguments.suite) if arguments.mutants else run(arguments.fact, checks)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
