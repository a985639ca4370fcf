"use strict";
// A handler of the old kind, which answers through a callback. AWS's client refuses it since its version for Node.js 24.
exports.handler = (event, context, callback) => callback(null, context.awsRequestId);
