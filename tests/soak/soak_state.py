"""What a soak has found so far, in one file that is replaced whole every few seconds: it can go on after any end.

Findings are distinguished by their messages; of each, the first few are kept as files beside the state.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from adacode_cli import atomic

STATE = "state.json"
SLOW_S = 2.0
"""Processor time of one file from which on it is a finding; by the clock, which other programs slow down, ten times."""
LARGE_BYTES = 300 << 20
OUTCOMES = ("restored", "refused", "crashed", "late")
_KEPT_OF_EACH = 5


@dataclass
class Worst:
    """The most of something, and the case that took it."""

    value: float = 0.0
    case: int = -1

    def see(self, value: float, case: int) -> None:
        """Counts one more."""
        if value > self.value:
            self.value, self.case = value, case


@dataclass
class Tally:
    """What became of the cases of one kind."""

    outcomes: dict[str, int] = field(default_factory=dict)
    slowest_s: Worst = field(default_factory=Worst)
    busiest_s: Worst = field(default_factory=Worst)
    largest_bytes: Worst = field(default_factory=Worst)


@dataclass
class Finding:
    """Something that must not be: how often, and the first cases (of kills: their numbers)."""

    count: int = 0
    cases: list[int] = field(default_factory=list)


@dataclass
class State:
    """`next`: the first case that was not taken through yet. `seconds`: of all sittings, by the clock."""

    seed: int = 0
    next: int = 0
    seconds: float = 0.0
    tallies: dict[str, Tally] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    kills: int = 0
    kill_rounds: int = 0
    kill_seconds: float = 0.0

    @classmethod
    def load(cls, folder: Path, seed: int) -> State:
        """The state in `folder`, or a new one. Raises ValueError for one of another seed."""
        path = folder / STATE
        if not path.exists():
            return cls(seed)
        fields = json.loads(path.read_text(encoding="ascii"))
        if fields["seed"] != seed:
            raise ValueError(f"{path} is of seed {fields['seed']}, not {seed}: name another --state")
        fields["tallies"] = {kind: _tally(found) for kind, found in fields["tallies"].items()}
        fields["findings"] = {name: Finding(**found) for name, found in fields["findings"].items()}
        return cls(**fields)

    def save(self, folder: Path) -> None:
        """Replaces the file of the state."""
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(folder / STATE, json.dumps(asdict(self), indent=1).encode("ascii"))

    def note(self, event: dict) -> list[str]:
        """Counts a case that came to its end, and says what is wrong with it."""
        number, kind, result = event["done"], event["kind"], event["result"]
        tally = self.tallies.setdefault(kind, Tally())
        outcome = result.split(":")[0]
        outcome = outcome if outcome in OUTCOMES else "finding"
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + 1
        if outcome != "late":  # those have their own count
            tally.slowest_s.see(event["seconds"], number)
            tally.busiest_s.see(event["busy"], number)
        tally.largest_bytes.see(event["growth"], number)
        wrong = [f"{kind}: {result}"] if outcome in ("finding", "crashed", "late") else []
        if outcome != "late" and (event["busy"] > SLOW_S or event["seconds"] > 10 * SLOW_S):
            wrong.append(f"{kind}: more than {SLOW_S:g} s")
        if event["growth"] > LARGE_BYTES:
            wrong.append(f"{kind}: more than {LARGE_BYTES >> 20} MB")
        return [name for name in map(_signature, wrong) if self.found(name, number)]

    def found(self, name: str, number: int) -> bool:
        """Counts a finding. True for the first few of its name, which are worth keeping."""
        finding = self.findings.setdefault(name, Finding())
        finding.count += 1
        if len(finding.cases) >= _KEPT_OF_EACH:
            return False
        finding.cases.append(number)
        return True

    def table(self) -> str:
        """The figures as they stand in docs/reliability.md."""
        titles = ("files", "cases", "restored", "refused", "decoder crashed", "too late", "findings")
        titles += ("slowest", "most memory")
        rows = [f"| {' | '.join(titles)} |", "|" + " --- |" * len(titles)]
        for kind, tally in self.tallies.items():
            counts = [tally.outcomes.get(name, 0) for name in (*OUTCOMES, "finding")]
            shown = " | ".join(f"{count:,}" for count in (sum(counts), *counts))
            rows.append(
                f"| {kind} | {shown} | {tally.busiest_s.value:.2f} s | {tally.largest_bytes.value / 1e6:.0f} MB |"
            )
        rows.append("")
        rows += [f"{name}: {found.count} (cases {', '.join(map(str, found.cases))})"
                 for name, found in sorted(self.findings.items(), key=lambda item: -item[1].count)]  # fmt: skip
        rate = self.next / self.seconds if self.seconds else 0.0
        rows.append(f"{self.next:,} files in {self.seconds / 3600:.2f} hours ({rate:.0f}/s), seed {self.seed}")
        rows.append(f"{self.kills:,} kills in {self.kill_rounds:,} rounds in {self.kill_seconds / 3600:.2f} hours")
        return "\n".join(rows)


def _tally(fields: dict) -> Tally:
    return Tally(fields["outcomes"], *(Worst(**fields[name]) for name in ("slowest_s", "busiest_s", "largest_bytes")))


def _signature(what: str) -> str:
    """Numbers differ from case to case where the fault is one."""
    return re.sub(r"(?<!line )(?<!more than )\b(0x[0-9a-f]+|\d+)\b", "N", what)[:200]
