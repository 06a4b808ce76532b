"""Run all benchmarks and print their tables."""

from rich.console import Console

from benchmarks import saturated, uncontended

console = Console()
for benchmark in (uncontended, saturated):
    for table in benchmark.tables():
        console.print(table)
