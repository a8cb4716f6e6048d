-- What is of the cluster: roles, memberships, settings, parameters, databases. For psql.
SELECT current_setting('server_version_num')::int >= 160000 AS since_16 \gset
CREATE ROLE "Odd Role ""x""" NOLOGIN;
CREATE ROLE "select";
CREATE ROLE жёлтый LOGIN PASSWORD 'пароль' CONNECTION LIMIT 5 VALID UNTIL '2099-12-31 00:00+00';
CREATE ROLE maker CREATEDB CREATEROLE BYPASSRLS REPLICATION NOINHERIT;
CREATE GROUP readers;
CREATE USER clerk IN ROLE readers;
CREATE ROLE owner_of_all;
COMMENT ON ROLE clerk IS 'He''s the clerk; E''\n'' and a \ backslash';
GRANT "Odd Role ""x""" TO "select" WITH ADMIN OPTION;
GRANT pg_read_all_data, pg_monitor TO clerk;
\if :since_16
GRANT readers TO maker WITH INHERIT FALSE, SET TRUE;
GRANT owner_of_all TO maker WITH INHERIT TRUE, SET FALSE, ADMIN TRUE;
SET ROLE maker;
GRANT owner_of_all TO clerk;
RESET ROLE;
\endif
ALTER ROLE clerk SET search_path = "$user", "Odd, Schema", public;
ALTER ROLE clerk SET work_mem = '11MB';
ALTER ROLE clerk IN DATABASE knowledge_os SET application_name = 'it''s clerk';
ALTER ROLE ALL SET idle_in_transaction_session_timeout = '1h';
ALTER ROLE ALL SET search_path = "$user", public, "Odd, Schema";
ALTER DATABASE knowledge_os SET app.odd_setting = '1';
ALTER DATABASE knowledge_os SET DateStyle = 'German, DMY';
ALTER DATABASE knowledge_os CONNECTION LIMIT 77;
COMMENT ON DATABASE knowledge_os IS 'the database';
GRANT SET ON PARAMETER work_mem, "app.odd" TO clerk;
GRANT ALTER SYSTEM ON PARAMETER log_statement TO maker WITH GRANT OPTION;
GRANT CREATE, TEMPORARY ON DATABASE knowledge_os TO "Odd Role ""x""";
REVOKE ALL ON DATABASE knowledge_os FROM PUBLIC;
GRANT CONNECT ON DATABASE knowledge_os TO clerk WITH GRANT OPTION;
CREATE DATABASE "Other ""Data""" TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' CONNECTION LIMIT 3;
CREATE DATABASE as_template TEMPLATE template0 IS_TEMPLATE true OWNER maker;
