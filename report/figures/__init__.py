"""Everything that is drawn: charts and their data.  No tables, no pages."""
