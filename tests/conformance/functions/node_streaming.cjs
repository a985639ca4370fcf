"use strict";
// Writes its response piece by piece, as AWS's Node.js client lets a function do; fails after so many pieces where asked.
exports.handler = awslambda.streamifyResponse(async (event, stream, _context) => {
  stream.setContentType("text/plain");
  for (let number = 0; number < event.pieces; number++) {
    if (number === event.failsAt) throw new Error("planned");
    stream.write(`piece ${number} `);
    console.log(`wrote ${number}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  stream.end();
});
