// A page on the browser core, for the tests. Everything it offers is a function of the window.
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map(); // id of a request → what takes its answer
const strays = []; // answers with id 0
let took; // takes the next stray
let last = 0;

const began = performance.now();
const ready = new Promise((resolve, reject) => {
  worker.onmessage = ({ data }) => {
    const message = JSON.parse(new TextDecoder().decode(data));
    if (message.ready) {
      resolve({ ...message.ready, milliseconds: performance.now() - began });
    } else if (message.failed) {
      reject(new Error(message.failed.message));
      waiting.forEach((take, id) => take({ id, error: message.failed }));
    } else if (message.id === 0) {
      strays.push(message);
      took?.();
    } else {
      waiting.get(message.id)(message);
      waiting.delete(message.id);
    }
  };
  worker.onerror = (e) => reject(new Error(e.message));
});

window.ready = () => ready;

// begin posts a request and returns its id; answer waits for that one.
window.begin = (operation, args) => {
  const id = ++last;
  const answered = new Promise((resolve) => { waiting.set(id, resolve); });
  answers.set(id, answered);
  worker.postMessage(new TextEncoder().encode(JSON.stringify({ id, do: operation, args })));
  return id;
};
const answers = new Map();
window.answer = (id) => answers.get(id);
window.request = (operation, args) => window.answer(window.begin(operation, args));

// raw posts text as bytes, or any other value as it is, and returns the answer without an id.
window.raw = async (message) => {
  worker.postMessage(typeof message === "string" ? new TextEncoder().encode(message) : message);
  while (strays.length === 0) {
    await new Promise((resolve) => { took = resolve; });
  }
  return strays.shift();
};

// rawWithID posts text and returns the answer with that id.
window.rawWithID = (id, text) => {
  const answered = new Promise((resolve) => { waiting.set(id, resolve); });
  worker.postMessage(new TextEncoder().encode(text));
  return answered;
};
