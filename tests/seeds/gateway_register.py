"""What each Python block of seed 004 is."""

from __future__ import annotations

from seeds.kinds import GatewayProgram, Kind, Listing, Play

CLIENT = "gateway_sdk"
ANSWER = "You asked: Hello"
ADDRESS = "the seed's own host is no default: the argument, GATEWAY_BASE_URL, then the running platform"
_S3 = "s3://sandyard/"
LEFT = """\
def temporary():
    return {file["s3_url"] for file in client.list_temp_files()["files"]}

before = temporary()

def left():
    return temporary() - before

"""

PLACEHOLDERS = {
    '"sk-xxx"': "api_key",
    '"/tmp/': 'tmp + "/',
    '"s3://bucket/input.mp4"': "video_url",
    '"s3://bucket/agent-inputs/.../input.mp4"': "video_url",
    '"s3://bucket/agent-outputs/user123/agent456/result.pdf"': "result_url",
    '"s3://bucket/agent-outputs/..."': "result_url",
}
"""What a reader of the document replaces by what is theirs."""


def listing(**decided: str) -> Listing:
    return Listing(CLIENT, owner="GatewayClient", decided={f"GatewayClient.__init__({name})": why for name, why in decided.items()})


GATEWAY: dict[str, Kind] = {
    "004:27": GatewayProgram((Play("print(client.timeout)", ("1200",)),)),
    "004:59": GatewayProgram(
        (
            Play("", (ANSWER,)),
            Play("", ("Error: ", "FUNCTION_ERROR", "RuntimeError: the model server answered 404"), before="client = strangers_client()"),
        ),
        note="in a second play the caller's model server has no such page",
    ),
    "004:75": GatewayProgram((Play("print(result.get_result()['output']['content'])", (ANSWER,)),)),
    "004:82": GatewayProgram((Play("", (f"{ANSWER}\n完成",)),)),
    "004:92": GatewayProgram((Play("", ("'translation': '你好'", "'translation': '世界'")),)),
    "004:120": GatewayProgram((Play("print(output_files)", (f"{{'audio': ['{_S3}agent-outputs/", ".mp3")),)),
    "004:154": GatewayProgram((Play("print(client.list_files(limit=1)['files'] is not None)", ("True",)),)),
    "004:167": GatewayProgram((Play("", (f"{_S3}agent-outputs/", "\nresult.pdf\n", "\n10\n")),)),
    "004:178": GatewayProgram(
        (Play("print(session_id in result['s3_url'], client.cleanup_temp_files(session_id))", (f"{_S3}agent-workspace/", "True 1")),)
    ),
    "004:196": GatewayProgram(
        (
            Play(
                "from pathlib import Path\nimport urllib.request\n"
                "print(Path(tmp, 'downloaded_result.pdf').read_bytes())\nprint(urllib.request.urlopen(presigned_url).read(), sorted(os.listdir(tmp)))",
                ("b'the result'\nb'the result'", "'downloaded_result.pdf', 'input.mp4'"),
            ),
        )
    ),
    "004:213": GatewayProgram((Play("print('next_token' in result)", (f"{_S3}agent-outputs/", " 10 20", "False")),)),
    "004:226": GatewayProgram(
        (
            Play(
                "print(len(result['files']))",
                (f"{_S3}agent-workspace/", "1"),
                before="client.upload_temp_file(tmp + '/result.pdf', session_id=session_id)",
            ),
        )
    ),
    "004:235": GatewayProgram(
        (Play("", ("清理了 1 个临时文件",), before="client.upload_temp_file(tmp + '/result.pdf', session_id=session_id)"),)
    ),
    "004:243": GatewayProgram(
        (
            Play(
                "print(workflow())\nprint(left())\nprint(sorted(os.listdir(tmp)))",
                (f"{{'output_url': '{_S3}agent-outputs/", "output.mp4", "set()", "'audio.wav', 'frame.jpg'"),
                before=LEFT,
            ),
            Play(
                "try:\n    workflow()\nexcept RuntimeError as e:\n    print(e, left())",
                ("no disk set()",),
                before=LEFT + "def process_video(source, target):\n    raise RuntimeError('no disk')\n",
            ),
        ),
    ),
    "004:296": GatewayProgram((Play("", ("'format': 'mp3'", "'files': {'audio': ['s3://")),)),
    "004:319": GatewayProgram(
        (
            Play("", (f"Uploaded: {_S3}agent-inputs/", f"Output: {{'audio': ['{_S3}agent-outputs/")),
            Play(
                "",
                ("不支持的操作: ", "请使用 upload_input_file() 上传输入文件"),
                before="GatewayClient.upload_input_file = lambda self, path, content_type: self.upload_file(path)['s3_url']",
            ),
        ),
        note="in a second play the application does what is for agents only",
    ),
    "004:377": listing(base_url=f"row 31; {ADDRESS}", timeout="row 33"),
    "004:397": listing(),
    "004:413": listing(),
    "004:419": listing(),
    "004:425": listing(),
    "004:431": listing(),
    "004:461": GatewayProgram(
        (
            Play("print(result.is_success())", ("True",)),
            Play("", ("认证失败: ",), before="client = GatewayClient(internal_token='no-token')"),
            Play("", ("预制件不存在: There is no prefab 'no-such-prefab'",), before="call = ('no-such-prefab', '1.0.0', 'f', {})"),
            Play("", ("缺少密钥: OPENAI_API_KEY",), before="client = newcomers_client()"),
            Play("", ("配额超限: 0/0",), before="client = poor_client()"),
            Play("", ("错误: ",), before="client = GatewayClient(base_url='http://127.0.0.1:9')"),
        ),
        note="a play for each exception that it catches",
    ),
    "004:497": GatewayProgram((Play("print(client.timeout)", ("120",)),)),
    "004:504": GatewayProgram(
        (
            Play(
                "logging.getLogger().handlers[0].setStream(sys.stdout)\nclient.list_prefabs()\nclient.close()",
                ("DEBUG:gateway_sdk:GET http://127.0.0.1:", "/v1/prefabs: 200 after"),
            ),
        )
    ),
    "004:512": GatewayProgram((Play("print(event.type)", ("start",)),)),
}
