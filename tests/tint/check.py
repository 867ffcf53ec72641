"""Checks that Tint, the WGSL compiler of Chrome and Dawn, accepts every shader that the tests run.

    python3 tests/tint/check.py [--chromium PATH] [--shaders DIR]

Tint is stricter than naga where it counts on real GPUs: a barrier must be reached by all invocations of a
workgroup, as far as a compiler can tell. The shaders are those that `cargo test --test ops --test
conformance` compiles on the GPU at hand, written down by KILN_DUMP_SHADERS (or found in DIR), and a
headless Chromium with its software GPU compiles them.
"""

import argparse
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

PAGE = """<!doctype html><script type="module">
const report = (result) => fetch("/report", { method: "POST", body: JSON.stringify(result) });
try {
    const shaders = await (await fetch("/shaders")).json();
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice({ requiredFeatures: ["subgroups"] });
    const faults = {};
    for (const [name, text] of Object.entries(shaders)) {
        // naga knows the functions without the line that WebGPU asks for.
        const code = text.includes("subgroup") ? "enable subgroups;" + text : text;
        const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
        const found = messages.map((m) => `${m.lineNum}:${m.linePos} ${m.type}: ${m.message}`);
        if (found.length > 0) faults[name] = found;
    }
    await report({ faults });
} catch (error) {
    await report({ failed: String(error) });
}
</script>"""


def dump(folder):
    """Has the tests write their shaders to `folder`."""
    environment = {**os.environ, "KILN_DUMP_SHADERS": folder, "KILN_REQUIRE_GPU": "1"}
    command = ["cargo", "test", "--test", "ops", "--test", "conformance", "--", "--quiet", "gpu/"]
    subprocess.run(command, env=environment, check=True)


def compile_all(shaders, chromium):
    """What the browser says of each shader."""
    reported = threading.Event()
    result = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, content, kind):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(content.encode())

        def do_GET(self):
            if self.path == "/shaders":
                self.reply(json.dumps(shaders), "application/json")
            else:
                self.reply(PAGE, "text/html")

        def do_POST(self):
            result.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply("", "text/plain")
            reported.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu-sandbox", "--enable-unsafe-webgpu",
                "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", f"--user-data-dir={profile}",
                f"http://127.0.0.1:{server.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if not reported.wait(timeout=600):
                result["failed"] = "the browser did not answer within 600 s"
        finally:
            browser.terminate()
            browser.wait()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--shaders", help="a folder of WGSL files, instead of those of the tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.shaders is None:
            dump(folder)
        files = sorted(pathlib.Path(options.shaders or folder).glob("*.wgsl"))
        shaders = {file.name: file.read_text() for file in files}
    if not shaders:
        sys.exit("no shaders were written")
    result = compile_all(shaders, options.chromium)
    if "failed" in result:
        sys.exit(f"no answer from Tint: {result['failed']}")
    for name, messages in result["faults"].items():
        print(f"{name}:", *messages, sep="\n  ")
    print(f"Tint: {len(shaders)} shaders, {len(result['faults'])} of them with messages")
    sys.exit(bool(result["faults"]))


if __name__ == "__main__":
    main()
