"""`fromImage`, from a registry of the test's own."""

# pyright: reportUnknownMemberType=false
# The client declares its types in part only.

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from e2b import AsyncSandbox, AsyncTemplate, BuildException

from support.ecr import Ecr
from support.platform import Platform
from support.registry import Registry, by_zstd, host_layer, layer, special

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test's image is for amd64")]


PASSWORD = "pw-5f3c9e71b2"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ACCOUNT = {"type": "service_account", "client_email": "puller@example.iam.gserviceaccount.com", "private_key": "key-9d1fb02c77"}


@pytest.fixture(scope="module")
async def registry() -> AsyncGenerator[Registry]:
    async with Registry(login=("reader", PASSWORD)) as serving:
        yield serving


@pytest.fixture(scope="module")
async def google() -> AsyncGenerator[Registry]:
    async with Registry(login=("_json_key", json.dumps(ACCOUNT))) as serving:
        yield serving


@pytest.fixture(scope="module")
async def amazon() -> AsyncGenerator[tuple[Registry, Ecr]]:
    async with Registry(login=("AWS", PASSWORD), basic=True) as serving, Ecr(KEY, SECRET, "eu-central-1", PASSWORD) as api:
        yield serving, api


@pytest.fixture(scope="module")
async def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, google: Registry, amazon: tuple[Registry, Ecr]
) -> AsyncGenerator[Platform]:
    data = tmp_path_factory.mktemp("images") / "data"
    hosts = [registry.host, google.host, amazon[0].host]
    named = [word for host in hosts for word in ("--registry", host)]
    async with Platform(data, *named, backend="process", environ=os.environ | {"AWS_ENDPOINT_URL_ECR": amazon[1].url}) as running:
        yield running


def options(server: Platform) -> dict[str, Any]:
    return {"api_key": server.env["E2B_API_KEY"], "api_url": server.api_url, "sandbox_url": server.sandbox_url}


@pytest.mark.promise("template.image")
async def test_a_template_is_built_from_an_image(server: Platform, registry: Registry) -> None:
    upper = by_zstd(layer(("etc/motd", b"from the image\n"), special("usr/bin/.wh.touch", b"0")))
    registry.push("team/tool", [host_layer(), upper], env={"FLAVOUR": "plain", "PATH": "/usr/bin:/opt/bin"})
    template = AsyncTemplate().from_image(f"{registry.host}/team/tool", username="reader", password=PASSWORD)
    told: list[str] = []
    build = template.set_workdir("/srv").run_cmd('echo "$FLAVOUR" > made; ls /usr/bin > programs')
    await AsyncTemplate.build(build, "imaged", on_build_logs=lambda entry: told.append(entry.message), **options(server))
    assert any(line.startswith("Pulling ") for line in told)
    sandbox = await AsyncSandbox.create("imaged", **options(server))
    reply = await sandbox.commands.run("cat /etc/motd made; id -un; pwd; echo $FLAVOUR $PATH; ls /usr/bin/git /usr/bin/touch; true")
    await sandbox.kill()
    assert reply.stdout.splitlines() == ["from the image", "plain", "user", "/srv", "plain /usr/bin:/opt/bin"]
    assert reply.stderr.count("No such file") == 2
    told.clear()
    again = AsyncTemplate().from_image(f"{registry.host}/team/tool", username="reader", password=PASSWORD).run_cmd("id -un > who")
    await AsyncTemplate.build(again, "imaged-again", on_build_logs=lambda entry: told.append(entry.message), **options(server))
    assert not any(line.startswith("Pulling ") for line in told), "the image is here already"
    assert not [line for line in server.log.read_text().splitlines() if PASSWORD in line]
    assert PASSWORD.encode() not in (server.data_dir / "sandyard.db").read_bytes() + (server.data_dir / "sandyard.db-wal").read_bytes()


@pytest.mark.promise("template.image_logins")
async def test_google_s_and_amazon_s_logins_pull(server: Platform, google: Registry, amazon: tuple[Registry, Ecr]) -> None:
    theirs, api = amazon
    for registry in (google, theirs):
        registry.push("team/tool", [host_layer()])
    templates = [
        AsyncTemplate().from_gcp_registry(f"{google.host}/team/tool", service_account_json=ACCOUNT),
        AsyncTemplate().from_aws_registry(f"{theirs.host}/team/tool", KEY, SECRET, "eu-central-1"),
    ]
    for number, template in enumerate(templates):
        await AsyncTemplate.build(template.run_cmd("true"), f"of-cloud-{number}", **options(server))
    assert api.granted == 1
    kept = server.log.read_bytes() + b"".join(path.read_bytes() for path in server.data_dir.glob("sandyard.db*"))
    assert not [secret for secret in (PASSWORD, SECRET, ACCOUNT["private_key"]) if secret.encode() in kept]


@pytest.mark.promise("template.image_logins")
@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ((KEY, SECRET[::-1], "eu-central-1"), r"ECR in eu-central-1 refuses the access key \(HTTP 400, InvalidSignatureException\)"),
        (("AKIAUNKNOWN", SECRET, "eu-central-1"), "UnrecognizedClientException"),
        ((KEY, SECRET, "us-east-1"), "check the key and the region"),
    ],
    ids=["secret", "key", "region"],
)
async def test_a_refused_access_key_says_so(
    server: Platform, amazon: tuple[Registry, Ecr], keys: tuple[str, str, str], reason: str
) -> None:
    template = AsyncTemplate().from_aws_registry(f"{amazon[0].host}/team/tool", *keys)
    with pytest.raises(BuildException, match=reason) as caught:
        await AsyncTemplate.build(template, "unpullable", **options(server))
    assert keys[1] not in str(caught.value)


@pytest.mark.promise("template.image_logins")
@pytest.mark.parametrize(
    "login",
    [
        {"type": "gcp"},
        {"type": "gcp", "serviceAccountJson": "hidden"},
        {"type": "gcp", "serviceAccountJson": '{"hidden": 1}'},
        {"type": "gcp", "serviceAccountJson": ["hidden"]},
        {"type": "aws", "awsAccessKeyId": "hidden"},
        {"type": "aws", "awsAccessKeyId": "hidden", "awsSecretAccessKey": "hidden", "awsRegion": "hidden.example.com/"},
        {"type": "azure", "password": "hidden"},
    ],
)
async def test_a_login_with_something_missing_is_refused_and_not_repeated(server: Platform, login: dict[str, Any]) -> None:
    body = {"fromImage": "example.com/tool", "fromImageRegistry": login}
    reply = await server.api.post("/v2/templates/any/builds/any", json=body)
    assert (reply.status_code, "fromImageRegistry" in reply.text, "hidden" in reply.text) == (400, True, False), reply.text


@pytest.mark.promise("template.image", "template.image_hostile")
@pytest.mark.parametrize(
    ("image", "login", "reason"),
    [
        ("{host}/team/tool", None, "check the image's name and the login"),
        ("{host}/team/tool", ("reader", "wrong"), "check the image's name and the login"),
        ("{host}/team/nothing", ("reader", PASSWORD), "has no image"),
        ("{host}/team/lying", ("reader", PASSWORD), "sent other bytes than sha256:"),
        ("{host}/team/foreign", ("reader", PASSWORD), "only for linux/s390x, linux/riscv64"),
        ("127.0.0.1:1/team/tool", None, "--registry 127.0.0.1:1"),
        ("localhost/team/tool", None, "has no public address"),
        ("10.1.2.3/team/tool", None, "is not a public address"),
        ("not an image", None, "is not the name of an image"),
    ],
)
async def test_what_cannot_be_pulled_says_why(
    server: Platform, registry: Registry, image: str, login: tuple[str, str] | None, reason: str
) -> None:
    data = layer(("file", os.urandom(32)))
    registry.push("team/tool", [data])
    registry.push("team/foreign", [data], architecture="riscv64")
    registry.push("team/lying", [lie := layer(("file", os.urandom(32)))])
    for digest, blob in list(registry.blobs.items()):
        if blob == lie:
            registry.blobs[digest] = b"something else"
    user, password = login or (None, None)
    template = AsyncTemplate().from_image(image.format(host=registry.host), username=user, password=password)
    with pytest.raises(BuildException) as caught:
        await AsyncTemplate.build(template, "unpullable", **options(server))
    assert reason in str(caught.value)
    assert not list((server.data_dir / "images").glob("draft-*"))
