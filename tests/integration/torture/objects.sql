-- One database with every kind of object that PostgreSQL's SQL commands make, and rows. For psql.
SELECT current_setting('server_version_num')::int >= 160000 AS since_16,
       current_setting('server_version_num')::int >= 170000 AS since_17,
       current_setting('server_version_num')::int >= 180000 AS since_18,
       (SELECT count(*) > 9 FROM pg_collation WHERE collprovider = 'i') AS icu \gset
SET client_min_messages = warning;
SET check_function_bodies = on;
SET search_path = public;

-- Extensions, one in a schema of its own, one older than it could be
CREATE SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE EXTENSION btree_gist;
CREATE EXTENSION btree_gin;
CREATE EXTENSION pg_trgm SCHEMA ext;
CREATE EXTENSION bloom;
CREATE EXTENSION unaccent;
CREATE EXTENSION cube;
CREATE EXTENSION file_fdw;
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION tablefunc;
COMMENT ON EXTENSION hstore IS 'said anew';
GRANT EXECUTE ON FUNCTION ext.show_trgm(text) TO clerk;
REVOKE EXECUTE ON FUNCTION unaccent(text) FROM PUBLIC;

-- Schemas with odd names
CREATE SCHEMA "Odd, Schema" AUTHORIZATION owner_of_all;
CREATE SCHEMA "select";
CREATE SCHEMA "схема";
CREATE SCHEMA empty;
CREATE SCHEMA hidden;
COMMENT ON SCHEMA "Odd, Schema" IS 'odd';
GRANT USAGE, CREATE ON SCHEMA "select" TO "Odd Role ""x""" WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC, readers;

-- Types
CREATE TYPE mood AS ENUM ('sad', 'ok', 'hap''py', 'žluť');
ALTER TYPE mood ADD VALUE 'between' BEFORE 'ok';
CREATE TYPE nothing AS ENUM ();
CREATE TYPE pair AS (x int, "Y y" text COLLATE "C", m mood);
CREATE TYPE bare AS ();
CREATE TYPE nested AS (p pair, list pair[], r int4range);
CREATE DOMAIN posint AS int CHECK (VALUE > 0) CONSTRAINT small CHECK (VALUE < 1000000);
CREATE DOMAIN word AS text COLLATE "C" DEFAULT 'none' NOT NULL CONSTRAINT word_check CHECK (VALUE ~ '^\w+$' OR VALUE = '');
CREATE DOMAIN posints AS posint[] CHECK (cardinality(VALUE) BETWEEN 0 AND 9);
CREATE DOMAIN pairs AS pair CHECK ((VALUE).x IS DISTINCT FROM 13);
ALTER DOMAIN posint ADD CONSTRAINT late CHECK (VALUE <> 77) NOT VALID;
CREATE FUNCTION float_diff(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = float_diff, multirange_type_name = many_floats);
CREATE TYPE texts AS RANGE (subtype = text, collation = "C", subtype_opclass = text_pattern_ops);
CREATE TYPE int42;
CREATE FUNCTION int42_in(cstring) RETURNS int42 AS 'int4in' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_out(int42) RETURNS cstring AS 'int4out' LANGUAGE internal STRICT IMMUTABLE;
CREATE TYPE int42 (internallength = 4, input = int42_in, output = int42_out, alignment = int4, default = '42', passedbyvalue,
    category = 'Y', preferred = false, delimiter = ';');
CREATE TYPE still_a_shell;
COMMENT ON TYPE mood IS 'moods';
COMMENT ON CONSTRAINT small ON DOMAIN posint IS 'of a domain';
COMMENT ON COLUMN pair."Y y" IS 'of a type';
GRANT USAGE ON TYPE mood TO clerk;
REVOKE USAGE ON DOMAIN posint FROM PUBLIC;

-- Collations and conversions
\if :icu
CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk');
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
\if :since_16
CREATE COLLATION ruled (provider = icu, locale = 'und', rules = '& V << w <<< W');
\endif
\else
CREATE COLLATION german FROM "C";
\endif
CREATE COLLATION copied (provider = libc, lc_collate = 'C', lc_ctype = 'C.UTF-8');
\if :since_17
CREATE COLLATION built_in (provider = builtin, locale = 'C.UTF-8');
\endif
COMMENT ON COLLATION german IS 'phone book';
CREATE CONVERSION to_latin FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1;
CREATE DEFAULT CONVERSION "select".by_default FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
COMMENT ON CONVERSION to_latin IS 'converts';

-- Functions of every kind
CREATE FUNCTION plus(a int, b int DEFAULT 7, OUT sum int) LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 5 AS 'SELECT a + b';
CREATE FUNCTION body(a int) RETURNS int LANGUAGE sql STABLE RETURN a * 2;
CREATE FUNCTION bodies(INOUT a int, VARIADIC rest text[] DEFAULT '{}') LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT a + cardinality(rest); END;
CREATE FUNCTION several(n int) RETURNS TABLE (i int, "t t" text) LANGUAGE plpgsql ROWS 17 STRICT SECURITY DEFINER
    SET search_path = pg_catalog, "Odd, Schema" SET work_mem TO '5MB' AS $f$ BEGIN RETURN QUERY SELECT g, 'x $$ y' FROM generate_series(1, n) AS g; END $f$;
CREATE FUNCTION any_of(anyelement, anyarray) RETURNS anyelement LANGUAGE sql LEAKPROOF AS 'SELECT coalesce($1, $2[1])';
CREATE FUNCTION compat(anycompatible, anycompatible) RETURNS anycompatible LANGUAGE sql AS 'SELECT coalesce($1, $2)';
CREATE FUNCTION windowed() RETURNS int8 LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(text, int[]) RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION set_of_pairs() RETURNS SETOF pair LANGUAGE sql AS $$ SELECT 1, 'a', 'ok'::mood $$;
CREATE PROCEDURE proceed(IN a int, INOUT b text DEFAULT 'it''s') LANGUAGE plpgsql AS 'BEGIN b := b || a; END';
CREATE PROCEDURE proceed_sql(a int, OUT c int) LANGUAGE sql BEGIN ATOMIC SELECT a; END;
COMMENT ON FUNCTION plus(int, int) IS 'adds';
COMMENT ON PROCEDURE proceed(int, text) IS 'proceeds';
REVOKE EXECUTE ON FUNCTION plus(int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION plus(int, int) TO "Odd Role ""x""", clerk WITH GRANT OPTION;
GRANT EXECUTE ON PROCEDURE proceed(int, text) TO clerk;
ALTER FUNCTION plus(int, int) OWNER TO owner_of_all;

-- Aggregates
CREATE AGGREGATE sum_of(int) (sfunc = int4pl, stype = int, initcond = '0', combinefunc = int4pl, parallel = safe);
CREATE AGGREGATE my_avg(float8) (sfunc = float8_accum, stype = float8[], finalfunc = float8_avg, initcond = '{0,0,0}',
    msfunc = float8_accum, minvfunc = float8_accum, mstype = float8[], mfinalfunc = float8_avg, minitcond = '{0,0,0}');
CREATE AGGREGATE least_of(text) (sfunc = text_smaller, stype = text, sortop = <);
CREATE AGGREGATE my_percentile(float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal,
    finalfunc = percentile_disc_final, finalfunc_extra);
CREATE AGGREGATE my_rank(VARIADIC "any" ORDER BY VARIADIC "any") (sfunc = ordered_set_transition_multi, stype = internal,
    finalfunc = rank_final, finalfunc_extra, hypothetical);
CREATE AGGREGATE count_all(*) (sfunc = int8inc, stype = int8, initcond = '0');
COMMENT ON AGGREGATE sum_of(int) IS 'sums';

-- Operators, classes, families, casts, transforms, access methods, languages
CREATE FUNCTION int42_eq(int42, int42) RETURNS bool AS 'int4eq' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_lt(int42, int42) RETURNS bool AS 'int4lt' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_le(int42, int42) RETURNS bool AS 'int4le' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_gt(int42, int42) RETURNS bool AS 'int4gt' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_ge(int42, int42) RETURNS bool AS 'int4ge' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_cmp(int42, int42) RETURNS int AS 'btint4cmp' LANGUAGE internal STRICT IMMUTABLE;
CREATE FUNCTION int42_hash(int42) RETURNS int AS 'hashint4' LANGUAGE internal STRICT IMMUTABLE;
CREATE OPERATOR = (leftarg = int42, rightarg = int42, function = int42_eq, commutator = =, restrict = eqsel, join = eqjoinsel, hashes, merges);
CREATE OPERATOR < (leftarg = int42, rightarg = int42, function = int42_lt, commutator = >, negator = >=, restrict = scalarltsel);
CREATE OPERATOR <= (leftarg = int42, rightarg = int42, function = int42_le, commutator = >=, negator = >);
CREATE OPERATOR > (leftarg = int42, rightarg = int42, function = int42_gt, commutator = <, negator = <=);
CREATE OPERATOR >= (leftarg = int42, rightarg = int42, function = int42_ge, commutator = <=, negator = <);
CREATE OPERATOR "select".@#@ (rightarg = int8, function = int8um);
CREATE OPERATOR ==> (leftarg = text, rightarg = text, function = starts_with);
CREATE OPERATOR FAMILY int42_family USING btree;
CREATE OPERATOR CLASS int42_ops DEFAULT FOR TYPE int42 USING btree FAMILY int42_family AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 int42_cmp(int42, int42);
CREATE OPERATOR CLASS int42_hash_ops DEFAULT FOR TYPE int42 USING hash AS OPERATOR 1 =, FUNCTION 1 int42_hash(int42);
CREATE OPERATOR FAMILY lone_family USING gin;
CREATE OPERATOR CLASS my_int_ops FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
ALTER OPERATOR FAMILY int42_family USING btree ADD FUNCTION 4 (int42, int42) btequalimage(oid);
COMMENT ON OPERATOR ==> (text, text) IS 'starts with';
COMMENT ON OPERATOR CLASS int42_ops USING btree IS 'of int42';
COMMENT ON OPERATOR FAMILY lone_family USING gin IS 'alone';
CREATE CAST (int42 AS int) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (int AS int42) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE CAST (mood AS int42) WITH INOUT;
CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ($1)."Y y"';
CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair) AS ASSIGNMENT;
COMMENT ON CAST (pair AS text) IS 'the y';
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
COMMENT ON TRANSFORM FOR int LANGUAGE sql IS 'transforms';
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler;
CREATE ACCESS METHOD gist_too TYPE INDEX HANDLER gisthandler;
COMMENT ON ACCESS METHOD heap_too IS 'also a heap';
CREATE OPERATOR CLASS box_too DEFAULT FOR TYPE box USING gist_too AS
    OPERATOR 1 <<, OPERATOR 3 &&, OPERATOR 7 @>, FUNCTION 1 gist_box_consistent(internal, box, smallint, oid, internal),
    FUNCTION 2 gist_box_union(internal, internal), FUNCTION 5 gist_box_penalty(internal, internal, internal),
    FUNCTION 6 gist_box_picksplit(internal, internal), FUNCTION 7 gist_box_same(box, box, internal);
CREATE FUNCTION other_call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION other_inline(internal) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION other_validator(oid) RETURNS void LANGUAGE c STRICT AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE pl_other HANDLER other_call INLINE other_inline VALIDATOR other_validator;
COMMENT ON LANGUAGE pl_other IS 'plpgsql by another name';
GRANT USAGE ON LANGUAGE pl_other TO clerk;
REVOKE USAGE ON LANGUAGE pl_other FROM PUBLIC;
CREATE FUNCTION in_other() RETURNS int LANGUAGE pl_other AS 'BEGIN RETURN 3; END';

-- Text search
CREATE TEXT SEARCH PARSER my_parser (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes = prsd_lextype, headline = prsd_headline);
CREATE TEXT SEARCH TEMPLATE my_template (init = dsimple_init, lexize = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY my_dictionary (template = my_template, stopwords = 'english', accept = false);
CREATE TEXT SEARCH DICTIONARY stems (template = snowball, language = german);
CREATE TEXT SEARCH CONFIGURATION my_words (parser = my_parser);
ALTER TEXT SEARCH CONFIGURATION my_words ADD MAPPING FOR asciiword, word WITH my_dictionary, stems, simple;
CREATE TEXT SEARCH CONFIGURATION "Odd, Schema".words (copy = english);
ALTER TEXT SEARCH CONFIGURATION "Odd, Schema".words ALTER MAPPING FOR word WITH unaccent, english_stem;
COMMENT ON TEXT SEARCH PARSER my_parser IS 'parses';
COMMENT ON TEXT SEARCH TEMPLATE my_template IS 'a template';
COMMENT ON TEXT SEARCH DICTIONARY stems IS 'stems';
COMMENT ON TEXT SEARCH CONFIGURATION my_words IS 'configured';

-- Sequences
CREATE SEQUENCE counted AS smallint INCREMENT -3 MINVALUE -300 MAXVALUE 9 START 9 CACHE 5 CYCLE;
SELECT nextval('counted'), nextval('counted');
CREATE SEQUENCE "Odd, Schema"."Se ""q";
SELECT setval('"Odd, Schema"."Se ""q"', 9223372036854775806);
CREATE SEQUENCE never_used START 12;
CREATE UNLOGGED SEQUENCE quick_ones;
COMMENT ON SEQUENCE counted IS 'counts';
GRANT USAGE ON SEQUENCE counted TO clerk;

-- Tables
CREATE TABLE people (
    id int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5) PRIMARY KEY,
    serial_too serial, "Имя" text COLLATE german NOT NULL, email citext UNIQUE DEFERRABLE INITIALLY DEFERRED,
    mood mood DEFAULT 'ok', age posint CHECK (age BETWEEN 1 AND 150), born date DEFAULT CURRENT_DATE,
    tags text[] DEFAULT '{a,"b c"}', bio text COMPRESSION pglz, data jsonb DEFAULT '{"a": [1, 2]}',
    doubled int GENERATED ALWAYS AS (serial_too * 2) STORED, pair pair, more ext.hstore, path ltree, n42 int42 DEFAULT '7',
    dropped int, CONSTRAINT "che ck" CHECK ((mood IN ('ok', 'sad') OR mood IS NULL) AND "Имя" <> ALL (ARRAY['x', 'y'])),
    CONSTRAINT not_too CHECK (age IS NULL OR age > 0) NO INHERIT
) WITH (fillfactor = 71, autovacuum_enabled = false, toast.autovacuum_enabled = false, parallel_workers = 3);
ALTER TABLE people DROP COLUMN dropped;
ALTER TABLE people ADD COLUMN added timestamptz DEFAULT '2026-01-01 00:00+00';
ALTER TABLE people ALTER tags SET STORAGE EXTERNAL, ALTER bio SET STATISTICS 500, ALTER id SET (n_distinct = -0.5);
ALTER TABLE people REPLICA IDENTITY FULL;
INSERT INTO people ("Имя", email, age, pair, more, path, bio)
    SELECT 'человек ' || i, 'p' || i || '@x.org', i, ROW (i, 'y"' || i, 'sad')::pair, ext.hstore('k', i::text), text2ltree('a.b' || i), repeat('bio ', 999 * (i % 3))
    FROM generate_series(1, 60) AS i;
INSERT INTO people ("Имя", tags, data) VALUES (E'tab\there \\ ''q'' "dq" \n line', ARRAY['NULL', NULL, '{}', '"'], 'null'), ('NULL', NULL, NULL), (E'\\N', '{}', '"\\u00e9"');
COMMENT ON TABLE people IS 'people, "all" of them';
COMMENT ON COLUMN people."Имя" IS 'name';
COMMENT ON CONSTRAINT "che ck" ON people IS 'checked';
CREATE TABLE "Odd, Schema".thing ("select" int, "Qu""o'te" text, "per%cent" int, "new
line" text, "Ünïcode 日本" text, PRIMARY KEY ("select", "per%cent") INCLUDE ("Ünïcode 日本"));
INSERT INTO "Odd, Schema".thing SELECT i, 'x', i % 3, 'y', '日本' FROM generate_series(1, 20) AS i;
CREATE FUNCTION "Odd "" Name"("In Put" "Odd, Schema".thing DEFAULT NULL) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE "select"."from" ("where" int REFERENCES people ON DELETE SET NULL ON UPDATE CASCADE, a int, b int,
    FOREIGN KEY (a, b) REFERENCES "Odd, Schema".thing ("select", "per%cent") MATCH FULL DEFERRABLE, CONSTRAINT unvalidated CHECK (a > 5) NO INHERIT);
ALTER TABLE "select"."from" ADD CONSTRAINT later CHECK (b > 0) NOT VALID;
INSERT INTO "select"."from" VALUES (10, NULL, NULL), (15, NULL, NULL);
CREATE TABLE "select"."order" (a int, b int, FOREIGN KEY (a, b) REFERENCES "Odd, Schema".thing ("select", "per%cent") ON DELETE SET NULL (b));
CREATE UNLOGGED TABLE quick (i int PRIMARY KEY, t text) WITH (fillfactor = 50);
INSERT INTO quick SELECT i, i FROM generate_series(1, 33) AS i;
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 4);
CREATE TABLE typed OF pair (x PRIMARY KEY, m WITH OPTIONS DEFAULT 'sad');
INSERT INTO typed VALUES (1, 'a', 'ok');
CREATE TABLE kept_by_heap_too (i int) USING heap_too;
INSERT INTO kept_by_heap_too SELECT generate_series(1, 6);
CREATE TABLE liked (LIKE people INCLUDING ALL);
CREATE TABLE made_as AS SELECT id, "Имя" FROM people WHERE id < 50;
CREATE TABLE shifts (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0) DEFERRABLE,
    CONSTRAINT one_each UNIQUE NULLS NOT DISTINCT (room, during));
INSERT INTO shifts VALUES (1, '[2026-01-01,2026-01-02)'), (1, '[2026-01-02,2026-01-03)'), (NULL, NULL);
CREATE TABLE constants (a int DEFAULT 1 + 2 * 3, b text DEFAULT 'a' || 'b', c timestamp DEFAULT (now() AT TIME ZONE 'UTC'), d float8 DEFAULT 'NaN',
    e numeric(5, -2) DEFAULT 1e3, f bit(3) DEFAULT B'101', g interval year to month DEFAULT '1-2', h char(5) DEFAULT 'x', i money, j "char" DEFAULT 'z');
INSERT INTO constants (d, i) VALUES ('-Infinity', 12.34), ('1e-300', NULL);

-- One table for each of many types, with rows
DO $do$
DECLARE kind text; place int := 0;
BEGIN
    FOREACH kind IN ARRAY ARRAY['bool', 'int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'money', 'text', 'varchar(9)', 'char(3)', '"char"', 'name',
        'bytea', 'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval', 'inet', 'cidr', 'macaddr', 'macaddr8', 'bit(4)', 'varbit', 'uuid', 'xml',
        'json', 'jsonb', 'jsonpath', 'point', 'line', 'lseg', 'box', 'path', 'polygon', 'circle', 'tsvector', 'tsquery', 'int4range', 'int8range', 'numrange',
        'tsrange', 'tstzrange', 'daterange', 'int4multirange', 'nummultirange', 'pg_lsn', 'oid', 'regclass', 'regtype', 'regproc', 'mood', 'pair', 'nested',
        'floats', 'texts', 'many_floats', 'int42', 'posint', 'posints', 'pairs', 'ext.hstore', 'citext', 'ltree', 'cube', 'word'] LOOP
        place := place + 1;
        EXECUTE format('CREATE TABLE hidden.%I (one %s, many %s[], two_dims %s[][], CHECK (num_nonnulls(one, many) >= 0))', 'of ' || kind, kind, kind, kind);
        EXECUTE format('COMMENT ON TABLE hidden.%I IS %L', 'of ' || kind, 'number ' || place);
    END LOOP;
END $do$;
INSERT INTO hidden."of bool" VALUES (true, '{t,f,NULL}', '{{t,f},{f,t}}');
INSERT INTO hidden."of numeric" VALUES ('NaN', '{1.50,Infinity}', '{{1},{2}}'), (123456789012345678901234567890.123456789, NULL, NULL);
INSERT INTO hidden."of float8" VALUES (0.1 + 0.2, '{1e308,-0}', NULL), ('Infinity', NULL, NULL);
INSERT INTO hidden."of float4" VALUES (0.1, '{3.4e38}', NULL);
INSERT INTO hidden."of bytea" VALUES ('\x00ff5c', ARRAY['\x'::bytea, '\x27'], NULL);
INSERT INTO hidden."of date" VALUES ('infinity', '{4713-01-01 BC,-infinity}', NULL);
INSERT INTO hidden."of timestamptz" VALUES ('2026-03-29 02:30 Europe/Berlin', '{epoch}', NULL);
INSERT INTO hidden."of interval" VALUES ('-1 year 2 mons -3 days 04:05:06.7', '{P1Y2M}', NULL);
INSERT INTO hidden."of jsonb" VALUES ('{"a": 1.10, "é": null, "k": [true]}', ARRAY['1'::jsonb, 'null'], NULL);
INSERT INTO hidden."of json" VALUES ('{ "b":1,  "a":2, "a":3 }', NULL, NULL);
INSERT INTO hidden."of pair" VALUES (ROW (1, 'a,"b)', NULL), ARRAY[ROW (2, '', 'ok')::pair], NULL);
INSERT INTO hidden."of nested" VALUES (ROW (ROW (1, 'x', 'sad'), ARRAY[ROW (1, 'y', NULL)::pair], '[1,5)'), NULL, NULL);
INSERT INTO hidden."of int4multirange" VALUES ('{[1,3),[7,9)}', '{"{}"}', NULL);
INSERT INTO hidden."of tsvector" VALUES ('''it''''s'':1A fat:2,5', NULL, NULL);
INSERT INTO hidden."of regclass" VALUES ('public.people', NULL, NULL);
INSERT INTO hidden."of many_floats" VALUES ('{[1.5,2.5]}', NULL, NULL);
INSERT INTO hidden."of word" VALUES ('abc', '{x,y}', NULL), (DEFAULT, NULL, NULL);
INSERT INTO hidden."of int42" VALUES ('9', '{1;2}', NULL);
INSERT INTO hidden."of texts" VALUES ('[a,b)', NULL, NULL);

-- Inheritance and partitions
CREATE TABLE parent (a int NOT NULL, b text DEFAULT 'p', CONSTRAINT positive CHECK (a > 0));
CREATE TABLE other_parent (c int);
CREATE TABLE child (d int) INHERITS (parent, other_parent);
CREATE TABLE grandchild (a int DEFAULT 5, CHECK (a < 100)) INHERITS (child);
ALTER TABLE child ALTER b SET DEFAULT 'c';
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (3, 'x', 4, 5);
INSERT INTO grandchild (a) VALUES (6), (7), (8);
CREATE TABLE by_range (day date NOT NULL, region text, v int, PRIMARY KEY (day, region)) PARTITION BY RANGE (day, region);
CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2026-01-01', 'm');
CREATE TABLE "Odd, Schema".by_range_2 (v int, region text NOT NULL, gone int, day date NOT NULL);
ALTER TABLE "Odd, Schema".by_range_2 DROP COLUMN gone;
ALTER TABLE by_range ATTACH PARTITION "Odd, Schema".by_range_2 FOR VALUES FROM ('2026-01-01', 'm') TO (MAXVALUE, MAXVALUE);
INSERT INTO by_range SELECT '2025-12-01'::date + i, chr(97 + i % 26), i FROM generate_series(1, 90) AS i;
CREATE TABLE by_list (k text, v int) PARTITION BY LIST (lower(k));
CREATE TABLE by_list_ab PARTITION OF by_list FOR VALUES IN ('a', 'b', NULL);
CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT PARTITION BY HASH (v);
CREATE TABLE by_list_rest_0 PARTITION OF by_list_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0) WITH (fillfactor = 60);
CREATE UNLOGGED TABLE by_list_rest_1 PARTITION OF by_list_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_list SELECT chr(65 + i % 20), i FROM generate_series(1, 70) AS i;
CREATE INDEX by_list_v ON by_list (v);
CREATE INDEX by_list_only ON ONLY by_list ((v + 1));
CREATE TABLE refers (day date, region text, FOREIGN KEY (day, region) REFERENCES by_range);
INSERT INTO refers SELECT day, region FROM by_range LIMIT 9;
CREATE TABLE nobody_yet (i int) PARTITION BY RANGE ((i * 2) int4_ops);
ALTER TABLE by_range ADD CONSTRAINT checked CHECK (v > -1);

-- Indexes of every access method
CREATE INDEX people_lower ON people (lower("Имя") text_pattern_ops DESC NULLS LAST) INCLUDE (age) WITH (fillfactor = 80, deduplicate_items = off) WHERE age BETWEEN 1 AND 99 AND mood IS NOT NULL;
CREATE UNIQUE INDEX people_null ON people (age, id) NULLS NOT DISTINCT;
CREATE INDEX people_hash ON people USING hash (email);
CREATE INDEX people_gin ON people USING gin (tags, data jsonb_path_ops) WITH (fastupdate = off, gin_pending_list_limit = 128);
CREATE INDEX people_gin_trgm ON people USING gin ("Имя" ext.gin_trgm_ops);
CREATE INDEX people_gist ON people USING gist (path gist_ltree_ops (siglen = 100));
CREATE INDEX people_brin ON people USING brin (added timestamptz_minmax_multi_ops (values_per_range = 20), id) WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX people_bloom ON people USING bloom (id, age) WITH (length = 40, col1 = 3);
CREATE INDEX people_spgist ON people USING spgist (bio);
CREATE INDEX people_collated ON people ("Имя" COLLATE "C", (data ->> 'a'), (id IN (1, 2, 3)));
CREATE INDEX boxes ON hidden."of box" USING gist_too (one);
CREATE INDEX of_42 ON people (n42 int42_ops);
ALTER INDEX people_collated ALTER COLUMN 2 SET STATISTICS 77;
ALTER TABLE people CLUSTER ON people_pkey;
COMMENT ON INDEX people_lower IS 'lower';
CREATE STATISTICS st (ndistinct, dependencies, mcv) ON age, mood, id FROM people;
CREATE STATISTICS "Odd, Schema"."St x" ON (lower("Имя")), (age + 1) FROM people;
ALTER STATISTICS st SET STATISTICS 55;
COMMENT ON STATISTICS st IS 'stats';

-- Views
CREATE VIEW plain AS SELECT id, "Имя" AS name, age BETWEEN 3 AND 9 AND mood = ANY (ARRAY['ok', 'sad']::mood[]) AS inside FROM people;
CREATE VIEW barrier WITH (security_barrier, security_invoker = true) AS SELECT * FROM people WHERE age > 5 WITH LOCAL CHECK OPTION;
CREATE VIEW on_view WITH (check_option = cascaded) AS SELECT * FROM barrier WHERE id > 12;
CREATE RECURSIVE VIEW numbers (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < 5;
CREATE VIEW "View "" x" ("Co l") AS WITH w AS MATERIALIZED (SELECT DISTINCT ON (age) age FROM people ORDER BY age, id DESC) SELECT w.age FROM w
    LEFT JOIN LATERAL (SELECT count(*) FILTER (WHERE p.id > 3) OVER win AS c FROM people AS p WINDOW win AS (PARTITION BY p.mood ORDER BY p.id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) LIMIT 1) AS l ON true
    GROUP BY GROUPING SETS ((w.age), ()) HAVING count(*) > 0 ORDER BY 1 NULLS FIRST OFFSET 1 FETCH FIRST 5 ROWS WITH TIES;
CREATE VIEW unioned AS SELECT q.n FROM (SELECT 'lit' AS n UNION SELECT NULL EXCEPT ALL SELECT 'x') AS q;
CREATE VIEW sampled AS SELECT * FROM people TABLESAMPLE bernoulli (50) REPEATABLE (7);
CREATE VIEW functions AS SELECT f.* FROM several(3) WITH ORDINALITY AS f(i, t, o);
CREATE VIEW cases AS SELECT CASE WHEN age IS NULL THEN 'none' ELSE age::text END, coalesce(age, 0), nullif(age, 1), greatest(age, 2), EXTRACT(year FROM born),
    substring(bio FROM 2 FOR 3), position('b' IN bio), trim(BOTH 'x' FROM bio), bio SIMILAR TO 'b%' AS s, bio ~~* 'B%' AS l, ROW (id, age) = ROW (1, 2) AS r, (pair).x, tags[1:2], '\x01'::bytea AS by FROM people;
CREATE VIEW depends AS SELECT id FROM people GROUP BY people.id;
CREATE VIEW cyclic_one AS SELECT 1 AS x;
CREATE VIEW cyclic_two AS SELECT x FROM cyclic_one;
CREATE OR REPLACE VIEW cyclic_one AS SELECT (SELECT count(*) FROM people)::int AS x;
ALTER VIEW plain ALTER name SET DEFAULT 'nobody';
COMMENT ON VIEW plain IS 'a view';
COMMENT ON COLUMN plain.name IS 'of a view';
CREATE MATERIALIZED VIEW mat WITH (fillfactor = 44) AS SELECT mood, count(*) FROM people GROUP BY mood;
CREATE UNIQUE INDEX mat_mood ON mat (mood);
CREATE MATERIALIZED VIEW mat_on_mat AS SELECT sum(count) FROM mat;
CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM mat WITH NO DATA;
COMMENT ON MATERIALIZED VIEW mat IS 'kept';
\if :since_17
CREATE VIEW jsons AS SELECT jt.* FROM people, json_table(data, '$.a[*]' COLUMNS (n FOR ORDINALITY, v int PATH '$' DEFAULT 0 ON EMPTY)) AS jt;
CREATE VIEW json_made AS SELECT json_object('a': 1 ABSENT ON NULL), data IS JSON OBJECT AS j, json_exists(data, '$.a') FROM people;
\endif

-- Rules, triggers, policies, event triggers
CREATE RULE upsert AS ON INSERT TO plain DO INSTEAD INSERT INTO people ("Имя", age) VALUES (NEW.name, 3) RETURNING id, "Имя", true;
CREATE RULE "no delete" AS ON DELETE TO made_as WHERE OLD.id BETWEEN 1 AND 9 DO INSTEAD NOTHING;
CREATE RULE also AS ON UPDATE TO made_as DO ALSO (INSERT INTO quick VALUES (NEW.id + 1000, OLD."Имя"); NOTIFY changed);
ALTER TABLE made_as DISABLE RULE also;
COMMENT ON RULE "no delete" ON made_as IS 'a rule';
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER "be fore" BEFORE INSERT OR UPDATE OF "Имя", age ON people FOR EACH ROW WHEN (NEW.age BETWEEN 5 AND 7 AND NEW.mood IS DISTINCT FROM 'sad') EXECUTE FUNCTION fire('a', 'it''s', '\n');
CREATE CONSTRAINT TRIGGER constrained AFTER UPDATE ON people FROM made_as DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER statement AFTER UPDATE ON people REFERENCING OLD TABLE AS o NEW TABLE AS "N n" FOR EACH STATEMENT EXECUTE FUNCTION fire();
CREATE TRIGGER truncated BEFORE TRUNCATE ON people EXECUTE FUNCTION fire();
CREATE TRIGGER instead INSTEAD OF DELETE ON on_view FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER on_parts AFTER INSERT ON by_range FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE by_range_1 DISABLE TRIGGER on_parts;
ALTER TABLE people DISABLE TRIGGER truncated, ENABLE ALWAYS TRIGGER statement, ENABLE REPLICA TRIGGER "be fore";
COMMENT ON TRIGGER statement ON people IS 'a trigger';
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
ALTER TABLE made_as ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON people FOR UPDATE TO clerk, "Odd Role ""x""" USING (id BETWEEN 1 AND 50 AND current_user = 'clerk') WITH CHECK (age > 0);
CREATE POLICY "strict" ON people AS RESTRICTIVE USING (EXISTS (SELECT FROM made_as AS m WHERE m.id = people.id));
COMMENT ON POLICY own ON people IS 'a policy';
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER "on ddl" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP VIEW') EXECUTE FUNCTION on_ddl();
CREATE EVENT TRIGGER on_rewrite ON table_rewrite EXECUTE FUNCTION on_ddl();
ALTER EVENT TRIGGER on_rewrite ENABLE ALWAYS;
CREATE EVENT TRIGGER on_drop ON sql_drop EXECUTE FUNCTION on_ddl();
ALTER EVENT TRIGGER on_drop DISABLE;
COMMENT ON EVENT TRIGGER "on ddl" IS 'an event trigger';

-- Foreign data
CREATE FOREIGN DATA WRAPPER dummy OPTIONS (debug 'it''s');
CREATE SERVER files TYPE 'disk' VERSION '1' FOREIGN DATA WRAPPER file_fdw;
CREATE SERVER "far away" FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere', dbname 'x', fetch_size '10');
CREATE SERVER "Dum my" FOREIGN DATA WRAPPER dummy OPTIONS ("odd key" 'v');
CREATE USER MAPPING FOR clerk SERVER "far away" OPTIONS (user 'u', password 'p''w');
CREATE USER MAPPING FOR PUBLIC SERVER "far away" OPTIONS (user 'all');
CREATE FOREIGN TABLE passwords (name text OPTIONS (force_not_null 'true'), x text, CHECK (name <> '')) SERVER files OPTIONS (filename '/etc/passwd', format 'csv', delimiter ':');
CREATE FOREIGN TABLE far (id int, t text COLLATE "C" NOT NULL DEFAULT 'd') SERVER "far away" OPTIONS (schema_name 's', table_name 't');
CREATE FOREIGN TABLE by_range_far PARTITION OF nobody_yet FOR VALUES FROM (0) TO (10) SERVER "far away";
COMMENT ON FOREIGN DATA WRAPPER dummy IS 'dumb';
COMMENT ON SERVER "far away" IS 'far';
COMMENT ON FOREIGN TABLE far IS 'far, too';
GRANT USAGE ON FOREIGN SERVER "far away" TO clerk;
GRANT USAGE ON FOREIGN DATA WRAPPER dummy TO clerk WITH GRANT OPTION;

-- Publications and subscriptions
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert, delete');
CREATE PUBLICATION columns FOR TABLE made_as (id) WHERE (id BETWEEN 1 AND 9), ONLY parent WITH (publish_via_partition_root = true);
CREATE PUBLICATION "Pub x" FOR TABLES IN SCHEMA "Odd, Schema", "select";
CREATE PUBLICATION nothing_yet;
COMMENT ON PUBLICATION everything IS 'all';
CREATE SUBSCRIPTION "Sub x" CONNECTION 'host=127.0.0.1 port=1 dbname=''x''' PUBLICATION a, "b B" WITH (connect = false, enabled = false, slot_name = NONE, binary = true, streaming = on);
COMMENT ON SUBSCRIPTION "Sub x" IS 'subscribed';

-- Large objects
SELECT lo_create(900001), lo_from_bytea(900002, '\x00ff'), lo_from_bytea(900003, convert_to(repeat('large ', 9999), 'UTF8')) \g /dev/null
COMMENT ON LARGE OBJECT 900002 IS 'large';
GRANT SELECT, UPDATE ON LARGE OBJECT 900002 TO clerk;
ALTER LARGE OBJECT 900003 OWNER TO maker;

-- Rights
GRANT SELECT ON people TO readers, PUBLIC;
GRANT INSERT, UPDATE ("Имя", age), REFERENCES (id) ON people TO clerk WITH GRANT OPTION;
GRANT ALL ON ALL TABLES IN SCHEMA hidden TO "Odd Role ""x""";
REVOKE ALL ON made_as FROM CURRENT_USER;
GRANT TRUNCATE, TRIGGER ON made_as TO "select";
ALTER TABLE made_as OWNER TO "Odd Role ""x""";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO readers;
ALTER DEFAULT PRIVILEGES FOR ROLE maker REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE maker GRANT USAGE ON SCHEMAS TO clerk WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES GRANT UPDATE ON SEQUENCES TO "select";
ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO clerk;
\if :since_17
GRANT MAINTAIN ON people TO clerk;
\endif

-- Only in 18
\if :since_18
CREATE TABLE computed (a int, twice int GENERATED ALWAYS AS (a * 2) VIRTUAL, thrice int GENERATED ALWAYS AS (a * 3), CHECK (a BETWEEN 0 AND 99) NOT ENFORCED);
INSERT INTO computed (a) SELECT generate_series(1, 8);
CREATE TABLE bookings (room int, valid daterange, CONSTRAINT bookings_pk PRIMARY KEY (room, valid WITHOUT OVERLAPS));
CREATE TABLE stays (id int, room int, valid daterange, CONSTRAINT within FOREIGN KEY (room, PERIOD valid) REFERENCES bookings (room, PERIOD valid),
    CONSTRAINT id_there NOT NULL id NO INHERIT);
ALTER TABLE stays ADD CONSTRAINT room_there NOT NULL room NOT VALID;
INSERT INTO bookings VALUES (1, '[2026-01-01,2026-02-01)'), (1, '[2026-02-01,2026-03-01)');
INSERT INTO stays VALUES (1, 1, '[2026-01-15,2026-02-15)');
CREATE TABLE unenforced (p int REFERENCES people NOT ENFORCED);
ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO clerk;
\endif
CREATE FOREIGN TABLE IF NOT EXISTS never (i int) SERVER files OPTIONS (filename '/nowhere');
