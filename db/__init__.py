"""The database: engine, tables, sealed objects, schema revisions and reference rows. Nothing here decides or opens."""
