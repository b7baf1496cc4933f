// Reads a report as OHIF does, with @cornerstonejs/adapters, and prints each point as a line of JSON.
// node cornerstone.mjs REPORT PLANES FLAT: PLANES is JSON, the plane of each image by its UID; with FLAT "1" the points in
// millimetres are taken away, so that those in pixels are read.
import fs from "node:fs";

globalThis.window ??= globalThis;
globalThis.self ??= globalThis;
const [file, planesFile, flat] = process.argv.slice(2);
const { default: dcmjs } = await import("dcmjs");
const { default: MeasurementReport } = await import("@cornerstonejs/adapters/cornerstone3D/MeasurementReport");
await import("@cornerstonejs/adapters/cornerstone3D/Probe");
const { metaData } = await import("@cornerstonejs/core");

const planes = JSON.parse(fs.readFileSync(planesFile, "utf8"));
const provider = { get: (type, id) => (type === "imagePlaneModule" ? planes[id] : undefined) };
metaData.addProvider((type, id) => provider.get(type, id));
const bytes = fs.readFileSync(file);
const message = dcmjs.data.DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const report = dcmjs.data.DicomMetaDictionary.naturalizeDataset(message.dict);
const without3D = (item) => {
    const items = [item.ContentSequence ?? []].flat().filter((one) => one.ValueType !== "SCOORD3D");
    if (item.ContentSequence) item.ContentSequence = items;
    items.forEach(without3D);
};
if (flat === "1") {
    without3D(report);
    const single = (item) => [item.ContentSequence ?? []].flat().forEach((one) => {
        if (one.ValueType === "SCOORD") one.ContentSequence = [one.ContentSequence].flat()[0];
        single(one);
    });
    single(report);
}
const images = Object.fromEntries(Object.keys(planes).map((uid) => [`${uid}:1`, uid]));
const state = MeasurementReport.generateToolState(report, images, provider);
for (const [tool, measurements] of Object.entries(state))
    for (const one of measurements)
        console.log(JSON.stringify({
            tool,
            site: one.findingSites[0].CodeValue,
            point: one.annotation.data.handles.points[0],
            frame: one.annotation.metadata.FrameOfReferenceUID,
        }));
