"use strict";
// A function that logs in every way Node.js offers, and fails on request. CommonJS, with an async handler.

class OutOfStockError extends Error {
  constructor(what) {
    super(`no ${what}\nleft`);
    this.name = "OutOfStockError";
  }
}

exports.handler = async (event, context) => {
  switch (event.do) {
    case "print":
      for (const line of event.lines) console.log(line);
      break;
    case "raw":
      for (const line of event.lines) process.stdout.write(`${line}\n`);
      break;
    case "levels":
      for (const level of ["debug", "info", "warn", "error"]) console[level]("at %s", level, { order: 7 });
      break;
    case "caught":
      try {
        throw new OutOfStockError("book");
      } catch (error) {
        console.error("sale failed", error);
      }
      break;
    case "raise":
      throw new OutOfStockError("lamp");
    case "reject outside":
      Promise.reject(new OutOfStockError("pen"));
      await new Promise((resolve) => setTimeout(resolve, 5000));
      break;
    case "sleep":
      console.log("about to sleep");
      await new Promise((resolve) => setTimeout(resolve, event.seconds * 1000));
      break;
  }
  return context.awsRequestId;
};

if (process.env.LOUD) console.log("importing");
