// Reads {name: graph} from stdin and writes {name: graph with coordinates} to stdout. What to lay out, and how, is
// decided by kimi_auth/machine/layout.py; this is only the door to the engine.
import ELK from "elkjs";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const elk = new ELK();
const answers = {};
for (const [name, graph] of Object.entries(JSON.parse(text))) answers[name] = await elk.layout(graph);
process.stdout.write(JSON.stringify(answers));
