-- Takes a part out of what is read and merged; its files stay below `detached/` of the table's folder, and
-- `ALTER TABLE … ATTACH PART` brings it back.
ALTER TABLE {table:Identifier} DETACH PART {part:String}
