"""Databases and their shells. SQL is parsed: what only asks, what changes rows, what drops things."""

from __future__ import annotations

import re

from cmdop.policy.commands.network import endpoint_of
from cmdop.policy.effects import Effects, connect, external, modify, read, write
from cmdop.policy.invocation import Invocation, Options, Unanalysable, Word
from cmdop.policy.vocabulary import command

_MAX_SQL = 20_000


def sql_effects(text: str, dialect: str) -> Effects:
    """What statements do to a database: questions nothing, everything else something that is named.

    Raises `Unanalysable` for text that is no SQL, or that may run programs or touch files.
    """
    # Half a second to import, and most commands need no SQL.
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > _MAX_SQL:
        raise Unanalysable("the SQL is too long")
    if re.search(
        r"\b(program|outfile|dumpfile|load_file|pg_read_file|pg_read_binary_file|pg_ls_dir|lo_import|lo_export|dblink|xp_cmdshell|load_extension|writefile|readfile|sys_exec|sys_eval|openrowset|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|setval|nextval|pg_switch_wal|pg_promote|set_config|pg_advisory\w*|sleep|pg_sleep|benchmark|attach)\b",
        text,
        re.IGNORECASE,
    ):
        raise Unanalysable("the SQL may run programs, touch files, or change the server")
    try:
        statements = [each for each in sqlglot.parse(text, dialect=dialect) if each is not None]
    except (SqlglotError, RecursionError, ValueError):
        raise Unanalysable("the SQL cannot be read") from None
    for statement in statements:
        yield from _statement(statement)


_PRAGMA_ASKS = re.compile(
    r"PRAGMA\s+(\w+\.)?(\w+|(table_info|table_xinfo|table_list|index_info|index_xinfo|index_list|foreign_key_list|foreign_key_check|integrity_check|quick_check)\s*(\([^()]*\)|=\s*\w+)?)\s*;?",
    re.IGNORECASE,
)
"""A setting that is asked for, or a question about a table. Any other word in brackets sets something."""


def _statement(statement: object) -> Effects:
    from sqlglot import exp as ast

    if isinstance(
        statement,
        ast.Select
        | ast.SetOperation
        | ast.Subquery
        | ast.Values
        | ast.Describe
        | ast.Show
        | ast.Use
        | ast.Pragma
        | ast.Set
        | ast.Summarize,
    ):
        changes = statement.find(ast.Insert, ast.Update, ast.Delete, ast.Into, ast.Create, ast.Drop)
        if (isinstance(statement, ast.Pragma) and not _PRAGMA_ASKS.fullmatch(statement.sql())) or (
            isinstance(statement, ast.Set) and re.search(r"global|persist|password", statement.sql(), re.IGNORECASE)
        ):
            yield external("database/setting")
        elif changes is not None:
            yield external("database/change")
        for function in statement.find_all(ast.Anonymous):
            yield external(
                f"database/function-{re.sub(r'[^a-z0-9_]', '', str(function.this).lower()) or 'unknown'}", certain=False
            )
    elif isinstance(statement, ast.Delete | ast.Update) and statement.args.get("where") is None:
        yield external("database/change-all-rows")
    elif isinstance(statement, ast.Drop | ast.TruncateTable):
        yield external("database/drop")
    elif isinstance(statement, ast.Command):
        word = str(statement.this).upper()
        if word in ("EXPLAIN", "SHOW", "DESCRIBE", "DESC", "LISTEN", "BEGIN", "HELP") and not re.search(
            r"analy[sz]e", str(statement.expression), re.IGNORECASE
        ):
            return
        yield external(f"database/{re.sub(r'[^a-z]', '', word.lower()) or 'unknown'}")
    elif isinstance(statement, ast.Transaction | ast.Commit | ast.Rollback | ast.Semicolon):
        return
    else:
        yield external("database/change")


_CLIENTS = {
    "psql": ("postgres", Options("aAbeEHlLnqsStxXwW0z1V?", "cdfFhoPpRTUvL", ("command=", "dbname=", "file=", "host=", "port=", "username=", "no-psqlrc", "tuples-only", "no-align",
                                 "csv", "expanded", "quiet", "list", "output=", "variable=", "set=", "pset=", "single-transaction", "no-password", "password", "field-separator=", "html", "echo-all", "version", "help"))),
    "mysql": ("mysql", Options("ABbBCEfGHLNnqrsStTUvVwXp", "eDhPuSO", ("execute=", "database=", "host=", "port=", "user=", "password?", "socket=", "batch", "table", "vertical", "skip-column-names",
                               "silent", "raw", "xml", "html", "defaults-file=", "defaults-extra-file=", "protocol=", "ssl-mode=", "ssl-ca=", "default-character-set=", "connect-timeout=", "verbose", "version", "help", "no-auto-rehash", "unbuffered", "quick"))),
    "sqlite3": ("sqlite", Options("", "")),
    "clickhouse-client": ("clickhouse", Options("mnq", "hudq", ("query=", "host=", "port=", "user=", "password=", "database=", "format=", "multiquery", "secure", "multiline", "version"))),
    "duckdb": ("duckdb", Options("", "")),
    "sqlcmd": ("tsql", Options("EbCNWIk", "SUPdQqiovhswW")),
    "cockroach": ("postgres", Options("", "", ())),
    "usql": ("postgres", Options("qtAxwX", "cfoUhpdv", ("command=", "file=", "json", "csv"))),
}  # fmt: skip
_CLIENTS["mariadb"] = _CLIENTS["mysql"]
_DESCRIBES = re.compile(
    r"\s*\\(d[\w+]*|l\+?|z|conninfo|timing|x|pset|encoding|h|\?|du\+?|dn\+?|sf\+?|sv\+?)(\s+[\w.*\"+-]*)*\s*|\s*\\q\s*"
)
_SQLITE_DESCRIBES = re.compile(
    r"\s*\.(tables|schema|indexes|databases|dbinfo|headers?|mode|width|stats|show|help|print|fullschema|dump|timer|nullvalue|separator|eqp|quit|exit|version|limit)([ \t]+[\w.*'\"%,|-]*)*\s*"
)


@command("psql", "mysql", "mariadb", "clickhouse-client", "sqlcmd", "usql")
def client(call: Invocation) -> Effects:
    """Sends statements to a server."""
    dialect, spec = _CLIENTS[call.program]
    attached = Invocation(
        argv=(
            call.argv[0],
            *(
                word
                for word in call.words
                if not re.match(r"-p.+", word.text) or call.program not in ("mysql", "mariadb")
            ),
        ),
        cwd=call.cwd,
        stdin=call.stdin,
        stdin_unknown=call.stdin_unknown,
    )
    parsed = attached.parse(spec)
    if parsed.has("version", "help", "V", "?"):
        return
    yield connect(_server(call, parsed.values("h", "host", "S"), parsed.values("p", "port", "P"), dialect))
    for word in parsed.values("o", "output"):
        yield from write(call.path(word))
    if parsed.has("l", "list") and call.program == "psql":
        return
    texts = [word.text for word in parsed.values("c", "command", "e", "execute", "q", "query", "Q")]
    if parsed.has("f", "file", "i"):
        raise Unanalysable("the SQL is in a file")
    if not texts and call.stdin is not None and not call.stdin_unknown:
        texts = [call.stdin]
    if not texts:
        raise Unanalysable("the SQL comes from standard input and is not known")
    for text in texts:
        if not _DESCRIBES.fullmatch(text):
            if "\\" in re.sub(r"'[^']*'", "", text):
                raise Unanalysable("a command of the client runs among the SQL")
            yield from sql_effects(text, dialect)


def _server(call: Invocation, hosts: list[Word], ports: list[Word], dialect: str) -> str:
    port = {"postgres": "5432", "mysql": "3306", "clickhouse": "9000", "tsql": "1433"}[dialect]
    port = ports[-1].text if ports and ports[-1].text.isdigit() else port
    if not hosts:
        return (
            f"localhost:{port}" if not any("://" in word.text or "host=" in word.text for word in call.words) else "*:*"
        )
    return endpoint_of(hosts[-1].text, port)


_FILE_DATABASE_FLAGS = frozenset(["ascii", "bail", "batch", "box", "column", "csv", "echo", "header", "noheader", "html", "interactive", "json", "jsonlines", "line", "list", "markdown", "memtrace", "nofollow", "quote", "safe", "stats", "table", "tabs"])  # fmt: skip


@command("sqlite3", "sqlite", "duckdb", "litecli")
def file_database(call: Invocation) -> Effects:
    """Runs statements on a file; without any it reads them from standard input."""
    words = list(call.words)
    names: list[Word] = []
    read_only = False
    while words:
        word = words.pop(0)
        option = word.text.lstrip("-") if word.text.startswith("-") else ""
        if not option:
            names.append(word)
        elif option in ("separator", "nullvalue", "newline", "escape", "maxsize") and words:
            words.pop(0)
        elif option == "readonly":
            read_only = True
        elif option in ("version", "help"):
            return
        elif option not in _FILE_DATABASE_FLAGS:
            # `-cmd`, `-init`, `-A` and the like run commands of the client, or unpack an archive.
            raise Unanalysable(f"what {call.program} does with {word.text} is not known")
    if not names or names[0].globbed:
        raise Unanalysable("the database or the statements are not known")
    database, texts = call.path(names[0]), [word.text for word in names[1:]]
    if not texts and call.stdin is not None and not call.stdin_unknown:
        texts = [call.stdin]
    if not texts:
        raise Unanalysable("the statements come from standard input and are not known")
    yield read(database)
    for text in texts:
        if any(line.lstrip().startswith(".") for line in text.splitlines()):
            if not _SQLITE_DESCRIBES.fullmatch(text):
                raise Unanalysable("a command of the client may write files or run programs")
            continue
        dialect = "duckdb" if call.program == "duckdb" else "sqlite"
        if dialect == "duckdb" and re.search(
            r"(from|join)\s*\(?\s*['\"]|\w*(read|scan|glob|sniff)_?\w*\s*\(", text, re.IGNORECASE
        ):
            raise Unanalysable("DuckDB reads files and pages that a statement names")
        for each in sql_effects(text, dialect):
            if not read_only:
                yield each
                yield modify(database, certain=False)


_REDIS_LOOKS = frozenset(
    [
        "get",
        "mget",
        "exists",
        "ttl",
        "pttl",
        "type",
        "strlen",
        "keys",
        "scan",
        "dbsize",
        "info",
        "ping",
        "llen",
        "lrange",
        "lindex",
        "scard",
        "smembers",
        "sismember",
        "hget",
        "hgetall",
        "hkeys",
        "hlen",
        "hmget",
        "hexists",
        "zrange",
        "zcard",
        "zscore",
        "zrank",
        "ttl",
        "object",
        "memory",
        "time",
        "lastsave",
        "slowlog",
        "latency",
        "config:get",
        "client:list",
        "cluster:info",
        "cluster:nodes",
        "xlen",
        "xrange",
        "xinfo",
        "getrange",
        "sscan",
        "hscan",
        "zscan",
        "bitcount",
        "echo",
        "role",
        "acl:whoami",
        "debug:object",
        "randomkey",
        "command",
        "pubsub",
    ]
)


@command("redis-cli", "valkey-cli", "keydb-cli")
def redis(call: Invocation) -> Effects:
    """Sends one command, or what standard input says."""
    words = list(call.words)
    if [word.text for word in words] in (["--version"], ["-v"], ["--help"]):
        return
    yield connect("*:*")
    while words and words[0].text.startswith("-"):
        option = words.pop(0).text
        if option in ("-h", "-p", "-a", "-n", "-u", "-s", "--user", "--pass", "-r", "-i", "-t") and words:
            words.pop(0)
        elif option in ("--eval", "--pipe", "--rdb", "--functions-rdb", "-x", "-X", "--cluster", "--replica"):
            raise Unanalysable(f"what redis-cli {option} does is not known")
    if not words:
        raise Unanalysable("the commands come from standard input and are not known")
    verb = words[0].text.lower()
    pair = ":".join(word.text.lower() for word in words[:2])
    if verb not in _REDIS_LOOKS and pair not in _REDIS_LOOKS:
        yield external(f"redis/{verb if re.fullmatch('[a-z]+', verb) else 'unknown'}")


@command("pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "mongodump", "mongoexport", "pg_isready", "mysqladmin", "mongosh", "mongo", "mongorestore", "mongoimport", "pg_restore", "createdb", "dropdb", "dropuser", "createuser", "pg_basebackup",
         "pg_ctl", "pg_ctlcluster", "vacuumdb", "reindexdb", "cqlsh", "influx", "neo4j-admin", "cypher-shell", "sqlplus", "db2", "rqlite", "cockroach", "initdb", "pg_resetwal", "pg_rewind", "pg_upgrade", "mysqlimport", "mysqlcheck", "mysql_upgrade", "impala-shell", "beeline", "snowsql", "hdfs", "hadoop", "hbase", "zkCli.sh", "kafka-topics", "kafka-topics.sh", "rabbitmqctl", "rabbitmqadmin", "elasticdump")  # fmt: skip
def administration(call: Invocation) -> Effects:
    """Dumps, restores and administration of databases."""
    texts = [word.text for word in call.words]
    if texts in (["--version"], ["--help"], ["-V"], ["-?"]):
        return
    yield connect("*:*")
    if call.program == "pg_isready" or (
        call.program == "mysqladmin"
        and texts[-1:] in (["status"], ["ping"], ["version"], ["processlist"], ["variables"], ["extended-status"])
    ):
        return
    if (
        call.program in ("rabbitmqctl",)
        and texts
        and texts[0].startswith(
            ("list_", "status", "cluster_status", "environment", "report", "node_health_check", "ping")
        )
    ):
        return
    if call.program in ("pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump"):
        for at, text in enumerate(texts):
            if text in ("-f", "--file", "-r", "--result-file") and at + 1 < len(texts):
                yield from write(call.path(call.words[at + 1]))
            elif text.startswith(("--file=", "--result-file=")):
                yield from write(call.path(text.partition("=")[2]))
        if any(text.startswith(("--tab", "-T", "--flush", "--delete")) for text in texts):
            raise Unanalysable(f"{call.program} does more than dump")
        return
    yield external(f"database/{call.program}")
