"""The paper's tables and figures, compared with ours."""
