"use strict";
// Answers a function URL's request piece by piece, with a status and headers of its own.
exports.handler = awslambda.streamifyResponse(async (event, stream, _context) => {
  const head = { statusCode: 203, headers: { "X-Path": event.rawPath, "Content-Type": "text/plain" }, cookies: ["a=b"] };
  const out = awslambda.HttpResponseStream.from(stream, head);
  for (let number = 0; number < Number(event.queryStringParameters.pieces); number++) {
    out.write(`piece ${number} `);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  out.end();
});
