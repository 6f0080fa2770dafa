// An HTTP server as most are written: nothing about signals.
require("node:http").createServer((request, response) => response.end("hello\n")).listen(@PORT@, "127.0.0.1");
