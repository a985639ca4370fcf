"""A function that calls databases and servers; the event says which, and where they listen."""

import asyncio


def handler(event, context):
    action = ACTIONS.get(event.get("do"))
    return action(event) if action else {"statusCode": 200, "body": ""}


def _redis(event):
    import redis
    from redis.asyncio import Redis

    async def ask():
        async with Redis(host="127.0.0.1", port=event["redis"]) as client:
            await client.get("key")
            async with client.pipeline() as pipeline:
                await pipeline.get("key").execute()

    with redis.Redis(host="127.0.0.1", port=event["redis"], db=1) as client:
        client.set("key", "secret")
        with client.pipeline() as pipeline:
            pipeline.get("key")
            pipeline.incr("count")
            pipeline.execute()
        try:
            client.incr("key")
        except redis.ResponseError:
            pass
    asyncio.run(ask())


def _psycopg(event):
    import psycopg

    where = f"host=127.0.0.1 port={event['postgresql']} user=shop dbname=postgres"

    async def ask():
        async with await psycopg.AsyncConnection.connect(where) as connection:
            await (await connection.execute("SELECT %s::int", (7,))).fetchone()

    with psycopg.connect(where) as connection:
        connection.execute("CREATE TEMPORARY TABLE orders (number int)")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO orders VALUES (%s)", [(1,), (2,)])
            try:
                cursor.execute("SELECT nothing FROM orders")
            except psycopg.Error:
                pass
    asyncio.run(ask())


def _psycopg2(event):
    import psycopg2
    from psycopg2.extras import RealDictConnection, RealDictCursor, execute_values

    connection = psycopg2.connect(host="127.0.0.1", port=event["postgresql"], user="shop", dbname="postgres")
    with connection, connection.cursor() as cursor:
        cursor.execute("/* first */ CREATE TEMPORARY TABLE orders (number int)")
        execute_values(cursor, "INSERT INTO orders VALUES %s", [(1,), (2,)])
        try:
            cursor.execute("SELECT nothing FROM orders")
        except psycopg2.Error:
            connection.rollback()
    if event.get("special"):
        with psycopg2.connect(connection.dsn, connection_factory=RealDictConnection) as other, other.cursor() as cursor:
            cursor.execute("SELECT 6 AS number")
            assert cursor.fetchall() == [{"number": 6}]
            assert isinstance(cursor, RealDictCursor)
            assert isinstance(other, RealDictConnection)
        with connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute("SELECT 7 AS number")
            assert cursor.fetchall() == [{"number": 7}]
        with connection.cursor("named", RealDictCursor, withhold=True) as cursor:
            cursor.execute("SELECT 8 AS number")
            assert cursor.fetchall() == [{"number": 8}]
    connection.close()


def _pymysql(event):
    import pymysql

    where = {"host": "127.0.0.1", "port": event["mysql"], "user": "root", "database": "shop"}
    with pymysql.connect(**where) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE orders (number int)")
        cursor.executemany("INSERT INTO orders VALUES (%s)", [(1,), (2,)])
        try:
            cursor.execute("SELECT nothing FROM orders")
        except pymysql.Error:
            pass


def _pymongo(event):
    import pymongo
    from pymongo.server_api import ServerApi

    where = {"host": "127.0.0.1", "port": event["mongodb"], "server_api": ServerApi("1")}

    async def ask():
        async with pymongo.AsyncMongoClient(**where) as client:
            await client.shop.orders.find_one({"number": 7})

    with pymongo.MongoClient(**where) as client:
        client.shop.orders.insert_one({"number": 7, "secret": "x"})
        try:
            client.shop.command("refused")
        except pymongo.errors.OperationFailure:
            pass
    asyncio.run(ask())


def _sqlalchemy(event):
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    where = f"postgresql+psycopg://shop@127.0.0.1:{event['postgresql']}/postgres"

    async def ask():
        engine = create_async_engine(where)
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text("SELECT 8"))
        await engine.dispose()

    engine = sqlalchemy.create_engine(where)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT :number"), {"number": 7})
        try:
            connection.execute(sqlalchemy.text("SELECT nothing FROM nowhere"))
        except sqlalchemy.exc.DBAPIError:
            pass
    engine.dispose()
    asyncio.run(ask())


def _http(event):
    import urllib.request

    import aiohttp
    import httpx
    import requests

    url = event["url"]

    async def fetch():
        async with httpx.AsyncClient() as client:
            await client.get(f"{url}/httpx-async")
        async with aiohttp.ClientSession() as session, session.get(f"{url}/aiohttp?a=1"):
            pass

    requests.get(f"{url}/requests", timeout=10)
    requests.post(f"{url}/missing", data=b"x", timeout=10)
    urllib.request.urlopen(f"{url}/urllib").close()
    httpx.get(f"{url}/httpx")
    asyncio.run(fetch())
    try:
        requests.get("http://127.0.0.1:9/refused", timeout=10)
    except requests.ConnectionError:
        pass


def _aws(event):
    import boto3
    from botocore.exceptions import ClientError

    def client(name, path=""):
        return boto3.client(name, endpoint_url=event["url"] + path)

    queue = event["url"] + "/1/orders"
    client("sqs").receive_message(QueueUrl=queue)
    client("sqs").send_message(QueueUrl=queue, MessageBody="m")
    client("sns").publish(TopicArn="arn:aws:sns:us-east-1:123456789012:news", Message="m")
    client("dynamodb").get_item(TableName="carts", Key={"id": {"S": "1"}})
    client("lambda").invoke(FunctionName="other", Payload=b"{}")
    client("events").put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}"}])
    client("kinesis").put_record(StreamName="clicks", Data=b"x", PartitionKey="1")
    try:
        client("sqs", "/missing").send_message(QueueUrl=event["url"] + "/missing", MessageBody="m")
    except ClientError:
        pass


ACTIONS = {
    "redis": _redis,
    "psycopg": _psycopg,
    "psycopg2": _psycopg2,
    "pymysql": _pymysql,
    "pymongo": _pymongo,
    "sqlalchemy": _sqlalchemy,
    "http": _http,
    "aws": _aws,
}
