"""Run all benchmarks and print their tables."""

from rich.console import Console

from benchmarks import async_pool, keyed, loop_local, proxies, saturated, scraping, uncontended

console = Console()
for benchmark in (uncontended, saturated, scraping, async_pool, proxies, loop_local, keyed):
    for table in benchmark.tables():
        console.print(table)
