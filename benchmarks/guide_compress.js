// What the guide's page on compression does to a data directory, written for the benchmarks: every
// history is read, packed with zlib's usual level, written beside itself, and removed.
const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");

const histories = path.join(process.argv[2], "histories");
let documents = 0;
for (const user of fs.readdirSync(histories)) {
  const folder = path.join(histories, user);
  for (const name of fs.readdirSync(folder)) {
    if (name.endsWith(".gz")) continue;
    const plain = path.join(folder, name);
    fs.writeFileSync(plain + ".gz", zlib.gzipSync(fs.readFileSync(plain)));
    fs.unlinkSync(plain);
    documents += 1;
  }
}
console.log(JSON.stringify({ documents }));
