"""What another reader finds in an export.

usage: exported.py FILE.parquet FILE.csv
"""

import sys

import duckdb

parquet, csv = duckdb.read_parquet(sys.argv[1]), duckdb.read_csv(sys.argv[2], header=True, all_varchar=True)
for events in (parquet, csv):
    print(events.aggregate("count(*)").fetchall()[0][0])
    print(events.filter("action = 'AGENT_CREATED'").aggregate("count(*)").fetchall()[0][0])
print(parquet.columns == csv.columns)
print(parquet.project("strftime(occurred_at, '%Y')").limit(1).fetchall()[0][0])
