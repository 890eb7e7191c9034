// Reads a Parquet file from standard input with hyparquet, and prints its rows as JSON: values as texts, absent ones empty.
import { buffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { parquetReadObjects } from 'hyparquet';

const bytes = await buffer(process.stdin);
const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const rows = await parquetReadObjects({ file, compressors: { GZIP: (input) => new Uint8Array(gunzipSync(input)) } });
const shown = (value) => (value === null || value === undefined ? '' : String(value));
const told = rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, shown(value)])));
process.stdout.write(JSON.stringify(told));
