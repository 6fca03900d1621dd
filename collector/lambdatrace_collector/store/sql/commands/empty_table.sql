-- Everything that one table holds; its views and settings stay.
TRUNCATE TABLE {table:Identifier}
