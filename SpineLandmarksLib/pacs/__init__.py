"""Studies from a PACS and results into it, by DICOMweb and as a DICOM node."""
