// Reads {name: [graph, ...]} from stdin and writes {name: [graph with coordinates, ...]} to stdout, null for a graph that
// the engine gives up on. What to lay out, and how, is decided by elk.py.
import ELK from "elkjs";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const elk = new ELK();
const answers = {};
for (const [name, graphs] of Object.entries(JSON.parse(text))) {
  const laidOut = await Promise.allSettled(graphs.map((graph) => elk.layout(graph)));
  answers[name] = laidOut.map((one) => one.value ?? null);
  if (!answers[name].some(Boolean)) throw laidOut[0].reason;
}
process.stdout.write(JSON.stringify(answers));
