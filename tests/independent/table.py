"""What another reader finds in a Parquet file of events.

usage: table.py FILE
"""

import sys

import duckdb

events = duckdb.read_parquet(sys.argv[1])
print(events.aggregate("count(*)").fetchall()[0][0])
print(events.filter("action like 'AGENT_%'").aggregate("count(*)").fetchall()[0][0])
print(events.order("leaf").project("strftime(occurred_at, '%Y-%m')").limit(1).fetchall()[0][0])
print(",".join(events.columns))
